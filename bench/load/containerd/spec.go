package containerd

import (
	"encoding/json"
	"fmt"

	"github.com/containerd/containerd/api/services/containers/v1"
	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/troupe-run/troupe/bench/load"
)

// The type URLs by which containerd knows what is in an Any.
const (
	specType        = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
	processType     = "types.containerd.io/opencontainers/runtime-spec/1/Process"
	optionsType     = "runtimeoptions.v1.Options"
	runscConfigType = "io.containerd.runsc.v1.options"
)

// The annotations by which gVisor's and runc's shims know a pod.
const (
	criType      = "io.kubernetes.cri.container-type"
	criSandboxID = "io.kubernetes.cri.sandbox-id"
)

// record is a container as containerd keeps it.
func (t *Target) record(c load.Container) (*containers.Container, error) {
	spec, err := asJSON(specType, t.containerSpec(c))
	if err != nil {
		return nil, err
	}
	runtime := &containers.Container_Runtime{Name: t.options.Runtime}
	if t.options.Config != "" {
		value, err := proto.Marshal(&runtimeoptions.Options{TypeUrl: runscConfigType, ConfigPath: t.options.Config})
		if err != nil {
			return nil, err
		}
		runtime.Options = &anypb.Any{TypeUrl: optionsType, Value: value}
	}
	return &containers.Container{
		ID: string(c.ID), Image: t.options.Image, Runtime: runtime, Spec: spec,
		Snapshotter: t.options.Snapshotter, SnapshotKey: string(c.ID),
	}, nil
}

func asJSON(typeURL string, v any) (*anypb.Any, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", typeURL, err)
	}
	return &anypb.Any{TypeUrl: typeURL, Value: data}, nil
}

// capabilities are those that containerd gives a container by default.
var capabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// containerSpec is a plain container whose init sleeps.
func (t *Target) containerSpec(c load.Container) *specs.Spec {
	annotations := map[string]string{criType: "sandbox", criSandboxID: string(c.Sandbox)}
	if string(c.Sandbox) != string(c.ID) {
		annotations[criType] = "container"
	}
	return &specs.Spec{
		Version:     specs.Version,
		Process:     t.process([]string{"sleep", "2147483647"}, false),
		Root:        &specs.Root{Path: "rootfs"},
		Hostname:    string(c.ID),
		Annotations: annotations,
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		},
		Linux: &specs.Linux{
			CgroupsPath: "/" + t.options.Namespace + "/" + string(c.ID),
			Resources:   &specs.LinuxResources{},
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
				{Type: specs.MountNamespace}, {Type: specs.NetworkNamespace},
			},
		},
	}
}

func (t *Target) process(args []string, terminal bool) *specs.Process {
	return &specs.Process{
		Args: args, Cwd: "/", Terminal: terminal, NoNewPrivileges: true,
		Env:          append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, t.env...),
		Capabilities: &specs.LinuxCapabilities{Bounding: capabilities, Effective: capabilities, Permitted: capabilities},
	}
}

func (t *Target) processSpec(e load.Exec) (*anypb.Any, error) {
	return asJSON(processType, t.process(e.Args, e.Terminal))
}
