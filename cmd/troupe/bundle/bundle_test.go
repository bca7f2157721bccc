package bundle

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/messages"
)

func write(t *testing.T, c Config) specs.Spec {
	t.Helper()
	parent := t.TempDir()
	dir, err := Write(parent, c)
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(dir) || filepath.Dir(dir) != parent {
		t.Errorf("the bundle is in %s, want a folder of %s", dir, parent)
	}
	file := filepath.Join(dir, "config.json")
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("config.json has mode %v: others can read the environment", info.Mode())
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(text, &spec); err != nil {
		t.Fatal(err)
	}
	return spec
}

// The overlay is said in the bundle, so no flag of runsc can forget it.
func TestHostIsOverlaid(t *testing.T) {
	spec := write(t, Config{Container: "c"})
	if spec.Root.Path != "/" {
		t.Errorf("the root is %q, want that of the host", spec.Root.Path)
	}
	for key, want := range map[string]string{rootfsSource: "/", rootfsType: "bind", rootfsOverlay: "memory"} {
		if got := spec.Annotations[key]; got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if len(spec.Process.Capabilities.Effective) != 41 {
		t.Errorf("%d capabilities, want all 41 of Linux 5.9", len(spec.Process.Capabilities.Effective))
	}
}

func TestPodAnnotations(t *testing.T) {
	for _, c := range []struct {
		sandbox         messages.SandboxID
		kind, sandboxID string
	}{
		{"", "sandbox", ""},
		{"c", "sandbox", ""},
		{"pod", "container", "pod"},
	} {
		a := write(t, Config{Container: "c", Sandbox: c.sandbox}).Annotations
		if a[criType] != c.kind || a[criSandboxID] != c.sandboxID {
			t.Errorf("in sandbox %q: %s=%q %s=%q", c.sandbox, criType, a[criType], criSandboxID, a[criSandboxID])
		}
	}
}

func TestNetworkNamespace(t *testing.T) {
	for network, want := range map[Network]bool{None: true, Sandbox: true, Host: false} {
		spec := write(t, Config{Container: "c", Network: network})
		got := slices.ContainsFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace })
		if got != want {
			t.Errorf("network %s: a namespace of its own is %v, want %v", network, got, want)
		}
	}
}

func TestMemoryLimit(t *testing.T) {
	if m := write(t, Config{Container: "c", Memory: 1 << 20}).Linux.Resources.Memory; m.Limit == nil || *m.Limit != 1<<20 {
		t.Errorf("memory is %+v", m)
	}
}

func TestBadRootfs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for rootfs, want := range map[string]error{
		file:            messages.InvalidArgument,
		file + "/below": messages.InvalidArgument,
		"/absent":       messages.NotFound,
	} {
		parent := t.TempDir()
		if _, err := Write(parent, Config{Container: "c", Rootfs: rootfs}); !errors.Is(err, want) {
			t.Errorf("rootfs %s: %v, want %v", rootfs, err, want)
		}
		if left, _ := os.ReadDir(parent); len(left) > 0 {
			t.Errorf("rootfs %s: %s is left", rootfs, left[0].Name())
		}
	}
}

func TestTerminal(t *testing.T) {
	dir, err := Write(t.TempDir(), Config{Container: "c", Process: specs.Process{Terminal: true}})
	if err != nil {
		t.Fatal(err)
	}
	if terminal, err := Terminal(dir); err != nil || !terminal {
		t.Errorf("Terminal gives %v, %v", terminal, err)
	}
	if _, err := Terminal(t.TempDir()); !errors.Is(err, messages.InvalidArgument) {
		t.Errorf("of an empty folder: %v", err)
	}
}
