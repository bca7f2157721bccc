// Package bundle writes OCI bundles for the command line: a folder with the
// config.json of a container (runtime-spec, bundle.md).
//
// The root file system is a folder of the host, by default the host's own root,
// which the container sees as it is and writes to only in memory: nothing that
// it writes reaches the host.
package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/messages"
)

// Network says what a sandbox reaches.
type Network string

const (
	// None has a loopback interface and nothing else.
	None Network = "none"
	// Host has the host's sockets.
	Host Network = "host"
	// Sandbox has gVisor's own network stack in a network namespace of its own,
	// with the interfaces that somebody has put there.
	Sandbox Network = "sandbox"
)

// Config says what a container is.
type Config struct {
	// Container is its id.
	Container messages.ContainerID
	// Sandbox is the sandbox that it joins: the id of the container that the
	// sandbox began with. Empty, or Container's id: a sandbox of its own.
	Sandbox messages.SandboxID
	// Rootfs is a folder. Empty: the host's root.
	Rootfs string
	// Process is what runs. Capabilities of its own are kept; none means all,
	// which are those of the sandbox and none of the host.
	Process specs.Process
	// Memory is the limit in bytes. Zero: none.
	Memory  int64
	Network Network
}

// Annotations that runsc reads, or hands to its parts.
const (
	// runsc/specutils/cri.go: which container a sandbox begins with, and which
	// sandbox another one joins.
	criType      = "io.kubernetes.cri.container-type"
	criSandboxID = "io.kubernetes.cri.sandbox-id"
	criName      = "io.kubernetes.cri.container-name"

	// runsc/boot/mount_hints.go: the root file system of this container lies
	// under a memory overlay. Said in the bundle and not as a flag of runsc, so
	// that it holds whoever runs the bundle.
	rootfsSource  = "dev.gvisor.spec.rootfs.source"
	rootfsType    = "dev.gvisor.spec.rootfs.type"
	rootfsOverlay = "dev.gvisor.spec.rootfs.overlay"
)

// Write makes a new bundle in a new folder below dir (empty: the folder for
// temporary files) and returns that folder, absolute. The caller removes it.
func Write(dir string, c Config) (string, error) {
	spec, err := c.spec()
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return "", c.fail(messages.Internal, err, "")
	}
	path, err := os.MkdirTemp(dir, "troupe-bundle-")
	if err != nil {
		return "", c.fail(messages.Unavailable, err, "make room there, or set TMPDIR")
	}
	if path, err = filepath.Abs(path); err == nil {
		// The environment in it may hold secrets.
		err = os.WriteFile(filepath.Join(path, "config.json"), text, 0o600)
	}
	if err != nil {
		_ = os.RemoveAll(path)
		return "", c.fail(messages.Unavailable, err, "make room there, or set TMPDIR")
	}
	return path, nil
}

func (c Config) fail(kind, err error, hint string) error {
	return &messages.Error{Kind: kind, Op: "write bundle of", Process: messages.Init(c.Container), Err: err, Hint: hint}
}

func (c Config) spec() (*specs.Spec, error) {
	rootfs, err := c.rootfs()
	if err != nil {
		return nil, err
	}
	process := c.Process
	if process.Capabilities == nil {
		process.Capabilities = allCapabilities()
	}
	hostname := string(c.Container)
	if c.Network == Host {
		if name, err := os.Hostname(); err == nil {
			hostname = name
		}
	}
	spec := &specs.Spec{
		Version:     specs.Version,
		Process:     &process,
		Root:        &specs.Root{Path: rootfs},
		Hostname:    hostname,
		Annotations: c.annotations(rootfs),
		Linux: &specs.Linux{
			Namespaces: c.namespaces(),
			// `runsc update` takes what it is not told from here, and needs it
			// to be there (runsc/cmd/update.go).
			Resources: &specs.LinuxResources{Memory: &specs.LinuxMemory{}},
			// runsc's default is the id alone, which two programs would share.
			CgroupsPath: fmt.Sprintf("/troupe-%d-%s", os.Getpid(), c.Container),
		},
	}
	if c.Memory > 0 {
		spec.Linux.Resources.Memory.Limit = &c.Memory
	}
	return spec, nil
}

func (c Config) rootfs() (string, error) {
	if c.Rootfs == "" {
		return "/", nil
	}
	path, err := filepath.Abs(c.Rootfs)
	if err != nil {
		return "", c.fail(messages.InvalidArgument, err, "use an absolute path")
	}
	const hint = "name a folder with a root file system, or leave it out for the host's"
	switch info, err := os.Stat(path); {
	case errors.Is(err, os.ErrNotExist):
		return "", c.fail(messages.NotFound, fmt.Errorf("rootfs: %w", err), hint)
	case err != nil:
		return "", c.fail(messages.InvalidArgument, fmt.Errorf("rootfs: %w", err), hint)
	case !info.IsDir():
		return "", c.fail(messages.InvalidArgument, fmt.Errorf("rootfs %s is not a folder", path), hint)
	}
	return path, nil
}

func (c Config) annotations(rootfs string) map[string]string {
	a := map[string]string{
		rootfsSource:  rootfs,
		rootfsType:    "bind",
		rootfsOverlay: "memory",
		criName:       string(c.Container),
	}
	if c.Sandbox == "" || string(c.Sandbox) == string(c.Container) {
		a[criType] = "sandbox"
	} else {
		a[criType] = "container"
		a[criSandboxID] = string(c.Sandbox)
	}
	return a
}

// namespaces are those of a container. Without a network namespace runsc would
// refuse its own stack in that of the host (runsc/sandbox/network.go).
func (c Config) namespaces() []specs.LinuxNamespace {
	n := []specs.LinuxNamespace{
		{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace},
		{Type: specs.UTSNamespace}, {Type: specs.MountNamespace},
	}
	if c.Network != Host {
		n = append(n, specs.LinuxNamespace{Type: specs.NetworkNamespace})
	}
	return n
}

func allCapabilities() *specs.LinuxCapabilities {
	names := []string{
		"CAP_AUDIT_CONTROL", "CAP_AUDIT_READ", "CAP_AUDIT_WRITE", "CAP_BLOCK_SUSPEND", "CAP_BPF",
		"CAP_CHECKPOINT_RESTORE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER",
		"CAP_FSETID", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_KILL", "CAP_LEASE", "CAP_LINUX_IMMUTABLE",
		"CAP_MAC_ADMIN", "CAP_MAC_OVERRIDE", "CAP_MKNOD", "CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE",
		"CAP_NET_BROADCAST", "CAP_NET_RAW", "CAP_PERFMON", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP",
		"CAP_SETUID", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_CHROOT", "CAP_SYS_MODULE", "CAP_SYS_NICE",
		"CAP_SYS_PACCT", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO", "CAP_SYS_RESOURCE", "CAP_SYS_TIME",
		"CAP_SYS_TTY_CONFIG", "CAP_SYSLOG", "CAP_WAKE_ALARM",
	}
	return &specs.LinuxCapabilities{Bounding: names, Effective: names, Inheritable: names, Permitted: names, Ambient: names}
}

// Terminal tells whether the bundle in dir wants a terminal.
func Terminal(dir string) (bool, error) {
	path := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(path)
	if err != nil {
		return false, &messages.Error{Kind: messages.InvalidArgument, Op: "read the bundle", Err: err, Hint: "name a folder with a config.json; \"runsc spec\" writes one"}
	}
	var spec specs.Spec
	if err := json.Unmarshal(text, &spec); err != nil {
		return false, &messages.Error{Kind: messages.InvalidArgument, Op: "read the bundle", Err: fmt.Errorf("%s: %w", path, err), Hint: "see the OCI runtime specification, config.md"}
	}
	return spec.Process != nil && spec.Process.Terminal, nil
}
