package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/containerd/containerd/api/types"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// featuresType is the name under which containerd registers the OCI features
// (core/runtime/v2), which travel as JSON.
const featuresType = "types.containerd.io/opencontainers/runtime-spec/1/features/Features"

// printInfo is "-info": what the runtime can do, before any container. It
// repeats the options that it reads, as containerd's runc shim does.
func printInfo(stdin io.Reader, stdout io.Writer) error {
	release, revision, _ := version()
	info := &types.RuntimeInfo{
		Name:    runtimeName,
		Version: &types.RuntimeVersion{Version: release, Revision: revision},
	}
	data, err := io.ReadAll(io.LimitReader(stdin, maxStdin))
	if err != nil {
		return fmt.Errorf("read runtime options from stdin: %w", err)
	}
	if len(data) > 0 {
		info.Options = &anypb.Any{}
		if err := proto.Unmarshal(data, info.Options); err != nil {
			return fmt.Errorf("decode runtime options from stdin: %w", err)
		}
		if _, err := readOptions(info.Options); err != nil {
			return err
		}
	}
	encoded, err := json.Marshal(sandboxFeatures())
	if err != nil {
		return fmt.Errorf("encode the features: %w", err)
	}
	info.Features = &anypb.Any{TypeUrl: featuresType, Value: encoded}
	out, err := proto.Marshal(info)
	if err != nil {
		return fmt.Errorf("encode the runtime's information: %w", err)
	}
	_, err = stdout.Write(out)
	return err
}

// sandboxFeatures are those of gVisor (runsc/specutils, Features), as far as
// containerd asks for them: it refuses id-mapped mounts where they are said to
// be missing, and reads Linux.MountExtensions without looking whether it is
// there.
func sandboxFeatures() features.Features {
	yes, no := true, false
	return features.Features{
		OCIVersionMin: "1.0.0",
		OCIVersionMax: specs.Version,
		Hooks:         []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"},
		Linux: &features.Linux{
			Cgroup:          &features.Cgroup{V1: &yes, V2: &yes, Systemd: &yes, SystemdUser: &no, Rdma: &no},
			Seccomp:         &features.Seccomp{Enabled: &yes},
			Apparmor:        &features.Apparmor{Enabled: &no},
			Selinux:         &features.Selinux{Enabled: &no},
			IntelRdt:        &features.IntelRdt{Enabled: &no},
			MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: &no}},
		},
	}
}
