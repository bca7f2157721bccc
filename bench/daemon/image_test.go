package daemon

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Every blob is named after its digest, and the index leads to busybox.
func TestWriteImages(t *testing.T) {
	if _, err := exec.LookPath("busybox"); err != nil {
		t.Fatal("there is no busybox: apt-get install busybox-static")
	}
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := WriteImages(path, map[string][]string{"test/busybox:1": {"/bin/sh"}}); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	files := read(t, file)
	for name, data := range files {
		if digest, ok := strings.CutPrefix(name, "blobs/sha256/"); ok && fmt.Sprintf("%x", sha256.Sum256([]byte(data))) != digest {
			t.Errorf("%s is not what its name says", name)
		}
	}
	type reference struct {
		Digest      string
		Size        int
		Annotations map[string]string
	}
	blob := func(r reference) string {
		data, ok := files["blobs/sha256/"+strings.TrimPrefix(r.Digest, "sha256:")]
		if !ok || len(data) != r.Size {
			t.Fatalf("blob %+v is not there, or has %d bytes", r, len(data))
		}
		return data
	}
	var index struct{ Manifests []reference }
	parse(t, files["index.json"], &index)
	if len(index.Manifests) != 1 || index.Manifests[0].Annotations["io.containerd.image.name"] != "test/busybox:1" {
		t.Fatalf("index %+v", index)
	}
	var manifest struct {
		Config reference
		Layers []reference
	}
	parse(t, blob(index.Manifests[0]), &manifest)
	var config struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	parse(t, blob(manifest.Config), &config)
	if len(manifest.Layers) != 1 || len(config.RootFS.DiffIDs) != 1 || config.RootFS.DiffIDs[0] != manifest.Layers[0].Digest {
		t.Fatalf("manifest %+v, config %+v", manifest, config)
	}
	layer := read(t, strings.NewReader(blob(manifest.Layers[0])))
	for _, name := range []string{"bin/busybox", "bin/true", "bin/sleep", "bin/head", "etc/passwd", "proc/"} {
		if _, ok := layer[name]; !ok {
			t.Errorf("the root file system has no %s", name)
		}
	}
}

func parse(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatal(err)
	}
}

// read is what an archive has, by name.
func read(t *testing.T, from io.Reader) map[string]string {
	t.Helper()
	files := map[string]string{}
	r := tar.NewReader(from)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = string(data)
	}
}
