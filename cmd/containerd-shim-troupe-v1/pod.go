package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	sandboxapi "github.com/containerd/containerd/api/runtime/sandbox/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// pod is what a sandbox's spec takes from CRI's PodSandboxConfig
// (k8s.io/cri-api, runtime/v1). It is read field by field: the generated code
// of CRI would be the larger part of the program.
type pod struct {
	hostname     string
	logDirectory string
	annotations  map[string]string
	cgroupParent string
}

// readPod reads the options of CreateSandbox; other types than CRI's say
// nothing that is used here.
func readPod(r *sandboxapi.CreateSandboxRequest) pod {
	p := pod{annotations: map[string]string{}}
	if typeName(r.Options.GetTypeUrl()) != "runtime.v1.PodSandboxConfig" {
		return p
	}
	data := r.Options.Value
	eachField(data, func(number int, value []byte) {
		switch number {
		case 2:
			p.hostname = string(value)
		case 3:
			p.logDirectory = string(value)
		case 7: // map<string, string> annotations
			var key, val string
			eachField(value, func(number int, v []byte) {
				switch number {
				case 1:
					key = string(v)
				case 2:
					val = string(v)
				}
			})
			p.annotations[key] = val
		case 8: // LinuxPodSandboxConfig
			eachField(value, func(number int, v []byte) {
				if number == 1 {
					p.cgroupParent = string(v)
				}
			})
		}
	})
	return p
}

// pauseRootfs is the root file system of a sandbox that brings none, in its
// bundle. It is not "rootfs": containerd expects that to be empty in the end.
const pauseRootfs = "pause-rootfs"

// shmSource names a sandbox's /dev/shm to runsc.
func shmSource(bundle string) string { return filepath.Join(bundle, "shm") }

// writePauseBundle makes the bundle of a sandbox that was asked for without
// one: a root file system of one program that waits, and its spec.
func writePauseBundle(r *sandboxapi.CreateSandboxRequest) error {
	program, err := pauseProgram()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(r.BundlePath, pauseRootfs), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(r.BundlePath, pauseRootfs, "pause"), program, 0o755); err != nil {
		return err
	}
	data, err := json.Marshal(pauseSpec(r, readPod(r)))
	if err != nil {
		return fmt.Errorf("encode the sandbox's spec: %w", err)
	}
	return os.WriteFile(filepath.Join(r.BundlePath, "config.json"), data, 0o600)
}

func pauseSpec(r *sandboxapi.CreateSandboxRequest, p pod) *specs.Spec {
	namespaces := []specs.LinuxNamespace{
		{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.MountNamespace},
	}
	if r.NetnsPath != "" {
		namespaces = append(namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: r.NetnsPath})
	}
	annotations := shmHint(shmSource(r.BundlePath))
	// A pod's annotations reach runsc only where they are for it.
	for key, value := range p.annotations {
		if strings.HasPrefix(key, "dev.gvisor.") {
			annotations[key] = value
		}
	}
	for key, value := range r.Annotations {
		annotations[key] = value
	}
	annotations[annotationType] = "sandbox"
	annotations[annotationSandboxID] = r.SandboxID
	if p.logDirectory != "" {
		annotations[annotationLogDir] = p.logDirectory
	}
	spec := &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{
			Args:            []string{"/pause"},
			Cwd:             "/",
			Env:             []string{"PATH=/"},
			NoNewPrivileges: true,
		},
		Root:        &specs.Root{Path: pauseRootfs, Readonly: true},
		Hostname:    p.hostname,
		Mounts:      []specs.Mount{{Destination: "/proc", Type: "proc", Source: "proc"}},
		Annotations: annotations,
		Linux:       &specs.Linux{Namespaces: namespaces, Resources: &specs.LinuxResources{}},
	}
	if p.cgroupParent != "" {
		spec.Linux.CgroupsPath = filepath.Join(p.cgroupParent, r.SandboxID)
	}
	return spec
}
