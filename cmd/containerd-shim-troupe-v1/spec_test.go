package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// writeSpec writes a bundle and gives its folder.
func writeSpec(t *testing.T, spec map[string]any) string {
	t.Helper()
	dir := t.TempDir()
	data, err := json.Marshal(spec)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600))
	return dir
}

// prepared reads a spec back after it was prepared.
func prepared(t *testing.T, spec map[string]any, shm string) (*bundleSpec, map[string]any) {
	t.Helper()
	dir := writeSpec(t, spec)
	s, err := readSpec(dir)
	must(t, err)
	must(t, prepareSpec(s, shm, discard))
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	must(t, err)
	var whole map[string]any
	must(t, json.Unmarshal(data, &whole))
	again, err := readSpec(dir)
	must(t, err)
	return again, whole
}

func TestSandboxOfSpec(t *testing.T) {
	for _, c := range []struct {
		annotations map[string]string
		want        string
	}{
		{nil, ""},
		{map[string]string{annotationType: "sandbox", annotationSandboxID: "p"}, ""},
		{map[string]string{annotationType: "container", annotationSandboxID: "p"}, "p"},
		{map[string]string{annotationTypeCRIO: "container", annotationSandboxIDCRIO: "q"}, "q"},
		{map[string]string{annotationTypeCRIO: "sandbox", annotationSandboxIDCRIO: "q"}, ""},
	} {
		s := &bundleSpec{annotations: c.annotations}
		if got := s.sandbox(); string(got) != c.want {
			t.Errorf("%v is in sandbox %q", c.annotations, got)
		}
	}
}

// TestPrepareKeeps holds that what is not changed stays as it was, fields that
// are not known here too.
func TestPrepareKeeps(t *testing.T) {
	_, whole := prepared(t, map[string]any{
		"ociVersion": "9.9.9",
		"novelty":    map[string]any{"a": 1.0},
		"linux":      map[string]any{"cgroupsPath": "/kubepods/pod1/c1", "novelty": "x"},
	}, "")
	if whole["ociVersion"] != "9.9.9" || whole["novelty"].(map[string]any)["a"] != 1.0 || whole["linux"].(map[string]any)["novelty"] != "x" {
		t.Errorf("the spec became %v", whole)
	}
}

func TestPodCgroup(t *testing.T) {
	for _, c := range []struct{ path, kind, want string }{
		{"/kubepods/burstable/pod123/c", "sandbox", "/kubepods/burstable/pod123"},
		{"kubepods/pod123/c", "sandbox", "kubepods/pod123"},
		{"/kubepods/pod123", "sandbox", ""},
		{"/default/c", "sandbox", ""},
		{"/kubepods/pod123/c", "container", ""},
		{"", "sandbox", ""},
	} {
		s, _ := prepared(t, map[string]any{
			"annotations": map[string]string{annotationType: c.kind},
			"linux":       map[string]any{"cgroupsPath": c.path},
		}, "")
		if got := s.annotations[annotationCgroupParent]; got != c.want {
			t.Errorf("%s of %s has parent %q, wanted %q", c.path, c.kind, got, c.want)
		}
	}
}

func TestShm(t *testing.T) {
	bind := specs.Mount{Destination: "/dev/shm", Type: "bind", Source: "/host/shm", Options: []string{"rbind", "rw"}}
	extra := specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Source: "shm"}
	s, _ := prepared(t, map[string]any{"mounts": []specs.Mount{extra, bind}}, "")
	if len(s.mounts) != 1 || s.mounts[0].Type != "tmpfs" || s.mounts[0].Source != "/host/shm" || !slices.Equal(s.mounts[0].Options, []string{"rw"}) {
		t.Errorf("mounts %+v", s.mounts)
	}
	if s.annotations[mountHint+shmVolume+".source"] != "/host/shm" || s.annotations[mountHint+shmVolume+".share"] != "pod" {
		t.Errorf("annotations %v", s.annotations)
	}
	// A member of a pod has the mount and not the hint, which is the root's.
	member := map[string]string{annotationType: "container"}
	s, _ = prepared(t, map[string]any{"annotations": member, "mounts": []specs.Mount{bind}}, "")
	if len(s.annotations) != 1 || s.mounts[0].Type != "tmpfs" {
		t.Errorf("a member has %+v and %v", s.mounts, s.annotations)
	}
	// Of a sandbox of the sandbox API a member's own tmpfs is the shared one.
	s, _ = prepared(t, map[string]any{"annotations": member, "mounts": []specs.Mount{extra}}, "/bundle/shm")
	if s.mounts[0].Source != "/bundle/shm" {
		t.Errorf("mounts %+v", s.mounts)
	}
}

// volumePod makes kubelet's folders of a pod.
func volumePod(t *testing.T) (empty, used string) {
	t.Helper()
	was := kubeletPods
	kubeletPods = t.TempDir()
	t.Cleanup(func() { kubeletPods = was })
	empty = filepath.Join(kubeletPods, "uid1/volumes", emptyDirFolder, "cache")
	used = filepath.Join(kubeletPods, "uid1/volumes", emptyDirFolder, "socket")
	must(t, os.MkdirAll(empty, 0o755))
	must(t, os.MkdirAll(used, 0o755))
	must(t, os.WriteFile(filepath.Join(used, "sock"), nil, 0o600))
	must(t, os.WriteFile(filepath.Join(empty, filestorePrefix+"abc"), nil, 0o600))
	return empty, used
}

func TestVolumesOfRoot(t *testing.T) {
	empty, used := volumePod(t)
	annotations := map[string]string{
		annotationType:             "sandbox",
		annotationLogDir:           "/var/log/pods/ns_name_uid1",
		mountHint + "cache.type":   "bind",
		mountHint + "cache.share":  "pod",
		mountHint + "socket.type":  "bind",
		mountHint + "socket.share": "pod",
	}
	s, _ := prepared(t, map[string]any{"annotations": annotations}, "")
	for key, want := range map[string]string{
		"cache.type": "tmpfs", "cache.source": empty, "cache.share": "pod",
		// Something on the host uses it.
		"socket.type": "bind", "socket.source": used, "socket.share": "shared",
	} {
		if got := s.annotations[mountHint+key]; got != want {
			t.Errorf("%s is %q, wanted %q", key, got, want)
		}
	}
	annotations[mountHint+"nothing.type"] = "bind"
	dir := writeSpec(t, map[string]any{"annotations": annotations})
	spec, err := readSpec(dir)
	must(t, err)
	if err := prepareSpec(spec, "", discard); err == nil || !strings.Contains(err.Error(), `"nothing"`) {
		t.Errorf("a volume that does not exist: %v", err)
	}
}

func TestVolumesOfMember(t *testing.T) {
	empty, used := volumePod(t)
	mounts := []specs.Mount{
		{Destination: "/cache", Type: "bind", Source: empty, Options: []string{"rbind", "ro"}},
		{Destination: "/socket", Type: "bind", Source: used, Options: []string{"rbind"}},
		{Destination: "/other", Type: "bind", Source: "/elsewhere", Options: []string{"rbind"}},
	}
	annotations := map[string]string{
		annotationType: "container", mountHint + "cache.type": "tmpfs", mountHint + "socket.type": "tmpfs",
	}
	s, _ := prepared(t, map[string]any{"annotations": annotations, "mounts": mounts}, "")
	if s.mounts[0].Type != "tmpfs" || !slices.Equal(s.mounts[0].Options, []string{"ro"}) {
		t.Errorf("the empty volume is %+v", s.mounts[0])
	}
	if s.mounts[1].Type != "bind" || s.mounts[2].Type != "bind" {
		t.Errorf("the others are %+v", s.mounts[1:])
	}
	// The user may say that a volume is the host's.
	annotations["dev.gvisor.empty-dir.cache.force-shared"] = "true"
	s, _ = prepared(t, map[string]any{"annotations": annotations, "mounts": mounts}, "")
	if s.mounts[0].Type != "bind" {
		t.Errorf("the forced volume is %+v", s.mounts[0])
	}
}
