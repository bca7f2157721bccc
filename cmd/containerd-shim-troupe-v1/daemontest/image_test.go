package daemontest

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
	"testing"
)

const (
	busyboxImage = "troupe.test/busybox:1"
	pauseImage   = "troupe.test/pause:1"
)

// writeImage writes an OCI layout as a tar (image-spec, image-layout.md) with
// both images: busybox-static and its applets. Nothing is downloaded.
func writeImage(t testing.TB, path string) {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal("there is no busybox: apt-get install busybox-static")
	}
	program, err := os.ReadFile(busybox)
	must(t, err)
	applets, err := exec.Command(busybox, "--list").Output()
	must(t, err)

	layer := tarOf(t, func(w *tar.Writer) {
		for _, dir := range []string{"bin/", "etc/", "tmp/", "proc/", "sys/", "dev/", "root/"} {
			must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}))
		}
		addFile(t, w, "bin/busybox", program, 0o755)
		addFile(t, w, "etc/passwd", []byte("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n"), 0o644)
		addFile(t, w, "etc/group", []byte("root:x:0:\nuser:x:1000:\n"), 0o644)
		for _, name := range strings.Fields(string(applets)) {
			if name != "busybox" {
				must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox", Mode: 0o777}))
			}
		}
	})
	blobs := map[string][]byte{}
	blob := func(kind string, data []byte) map[string]any {
		digest := fmt.Sprintf("%x", sha256.Sum256(data))
		blobs["blobs/sha256/"+digest] = data
		return map[string]any{"mediaType": "application/vnd.oci.image." + kind, "digest": "sha256:" + digest, "size": len(data)}
	}
	layerDescriptor := blob("layer.v1.tar", layer)
	var manifests []any
	for name, command := range map[string][]string{busyboxImage: {"/bin/sh"}, pauseImage: {"/bin/sleep", "2147483647"}} {
		config := blob("config.v1+json", asJSON(t, map[string]any{
			"architecture": runtime.GOARCH, "os": "linux",
			"config": map[string]any{"Env": []string{"PATH=/bin"}, "Cmd": command},
			"rootfs": map[string]any{"type": "layers", "diff_ids": []any{layerDescriptor["digest"]}},
		}))
		manifest := blob("manifest.v1+json", asJSON(t, map[string]any{
			"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
			"config": config, "layers": []any{layerDescriptor},
		}))
		manifest["annotations"] = map[string]string{"io.containerd.image.name": name}
		manifests = append(manifests, manifest)
	}
	image := tarOf(t, func(w *tar.Writer) {
		addFile(t, w, "oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)
		addFile(t, w, "index.json", asJSON(t, map[string]any{"schemaVersion": 2, "manifests": manifests}), 0o644)
		for name, data := range blobs {
			addFile(t, w, name, data, 0o644)
		}
	})
	must(t, os.WriteFile(path, image, 0o644))
}

func tarOf(t testing.TB, fill func(*tar.Writer)) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	fill(w)
	must(t, w.Close())
	return b.Bytes()
}

func addFile(t testing.TB, w *tar.Writer, name string, data []byte, mode int64) {
	t.Helper()
	must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Mode: mode}))
	_, err := w.Write(data)
	must(t, err)
}

func asJSON(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	must(t, err)
	return data
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
