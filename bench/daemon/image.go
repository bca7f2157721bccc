package daemon

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// WriteImages writes images as an OCI layout in a tar (image-spec,
// image-layout.md): for each name its command, all of a static busybox and links
// to its applets. Nothing is downloaded.
func WriteImages(path string, commands map[string][]string) error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("%w; apt-get install busybox-static", err)
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	applets, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return fmt.Errorf("%s --list: %w", busybox, err)
	}
	layer := newArchive()
	for _, dir := range []string{"bin/", "etc/", "tmp/", "proc/", "sys/", "dev/", "root/", "run/"} {
		layer.add(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}, nil)
	}
	layer.file("bin/busybox", program, 0o755)
	layer.file("etc/passwd", []byte("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n"), 0o644)
	layer.file("etc/group", []byte("root:x:0:\nuser:x:1000:\n"), 0o644)
	for _, applet := range strings.Fields(string(applets)) {
		if applet != "busybox" {
			layer.add(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + applet, Linkname: "busybox", Mode: 0o777}, nil)
		}
	}
	data, err := layer.bytes()
	if err != nil {
		return err
	}
	image := newArchive()
	blob := func(kind string, data []byte) descriptor {
		digest := fmt.Sprintf("%x", sha256.Sum256(data))
		image.file("blobs/sha256/"+digest, data, 0o644)
		return descriptor{MediaType: "application/vnd.oci.image." + kind, Digest: "sha256:" + digest, Size: len(data)}
	}
	layerBlob := blob("layer.v1.tar", data)
	var manifests []descriptor
	for name, command := range commands {
		config := blob("config.v1+json", asJSON(map[string]any{
			"architecture": runtime.GOARCH, "os": "linux",
			"config": map[string]any{"Env": []string{"PATH=/bin"}, "Cmd": command},
			"rootfs": map[string]any{"type": "layers", "diff_ids": []string{layerBlob.Digest}},
		}))
		manifest := blob("manifest.v1+json", asJSON(map[string]any{
			"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
			"config": config, "layers": []descriptor{layerBlob},
		}))
		manifest.Annotations = map[string]string{"io.containerd.image.name": name}
		manifests = append(manifests, manifest)
	}
	image.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)
	image.file("index.json", asJSON(map[string]any{"schemaVersion": 2, "manifests": manifests}), 0o644)
	if data, err = image.bytes(); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

// descriptor names a blob (image-spec, descriptor.md).
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

func asJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps of strings and numbers
	}
	return data
}

// archive is a tar in memory; its first error is kept.
type archive struct {
	b   bytes.Buffer
	tar *tar.Writer
	err error
}

func newArchive() *archive {
	a := &archive{}
	a.tar = tar.NewWriter(&a.b)
	return a
}

func (a *archive) add(h *tar.Header, data []byte) {
	if a.err == nil {
		a.err = a.tar.WriteHeader(h)
	}
	if a.err == nil {
		_, a.err = a.tar.Write(data)
	}
}

func (a *archive) file(name string, data []byte, mode int64) {
	a.add(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Mode: mode}, data)
}

func (a *archive) bytes() ([]byte, error) {
	if a.err == nil {
		a.err = a.tar.Close()
	}
	return a.b.Bytes(), a.err
}
