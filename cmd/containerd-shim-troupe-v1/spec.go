package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/messages"
)

// Annotations of CRI implementations that say what a container is
// (gVisor: runsc/specutils/cri.go).
const (
	annotationType          = "io.kubernetes.cri.container-type"
	annotationTypeCRIO      = "io.kubernetes.cri-o.ContainerType"
	annotationSandboxID     = "io.kubernetes.cri.sandbox-id"
	annotationSandboxIDCRIO = "io.kubernetes.cri-o.SandboxID"
	annotationLogDir        = "io.kubernetes.cri.sandbox-log-directory"

	typeContainer = "container"

	// annotationCgroupParent makes runsc put the sandbox there (gVisor:
	// runsc/specutils).
	annotationCgroupParent = "dev.gvisor.spec.cgroup-parent"
)

// bundleSpec is the part of a bundle's config.json that a shim reads and
// changes. The rest is kept as it is, fields of a newer specification too.
type bundleSpec struct {
	path        string
	whole       map[string]json.RawMessage
	annotations map[string]string
	mounts      []specs.Mount
	cgroupsPath string
	changed     bool
}

func readSpec(bundle string) (*bundleSpec, error) {
	s := &bundleSpec{path: filepath.Join(bundle, "config.json")}
	data, err := os.ReadFile(s.path)
	if err != nil {
		return nil, invalidSpec("%w", err)
	}
	if err := json.Unmarshal(data, &s.whole); err != nil {
		return nil, invalidSpec("%s: %w", s.path, err)
	}
	var part struct {
		Annotations map[string]string `json:"annotations"`
		Mounts      []specs.Mount     `json:"mounts"`
		Linux       struct {
			CgroupsPath string `json:"cgroupsPath"`
		} `json:"linux"`
	}
	if err := json.Unmarshal(data, &part); err != nil {
		return nil, invalidSpec("%s: %w", s.path, err)
	}
	s.annotations, s.mounts, s.cgroupsPath = part.Annotations, part.Mounts, part.Linux.CgroupsPath
	return s, nil
}

func invalidSpec(format string, args ...any) error {
	return &messages.Error{Kind: messages.InvalidArgument, Op: "read the OCI spec", Err: fmt.Errorf(format, args...)}
}

// save writes the spec back if it was changed.
func (s *bundleSpec) save() error {
	if !s.changed {
		return nil
	}
	for key, value := range map[string]any{"annotations": s.annotations, "mounts": s.mounts} {
		data, err := json.Marshal(value)
		if err != nil {
			return invalidSpec("encode %s: %w", key, err)
		}
		s.whole[key] = data
	}
	data, err := json.Marshal(s.whole)
	if err != nil {
		return invalidSpec("encode: %w", err)
	}
	if err := os.WriteFile(s.path, data, 0o600); err != nil {
		return &messages.Error{Kind: messages.Internal, Op: "write the OCI spec", Err: err}
	}
	s.changed = false
	return nil
}

func (s *bundleSpec) annotate(key, value string) {
	if s.annotations == nil {
		s.annotations = map[string]string{}
	}
	if old, ok := s.annotations[key]; ok && old == value {
		return
	}
	s.annotations[key] = value
	s.changed = true
}

// isRoot tells whether the container is the first of its sandbox. One without
// annotations (plain "ctr run") is a sandbox of its own.
func (s *bundleSpec) isRoot() bool {
	if t, ok := s.annotations[annotationType]; ok {
		return t != typeContainer
	}
	return s.annotations[annotationTypeCRIO] != typeContainer
}

// sandbox names the sandbox that the container belongs to, by CRI's
// annotations; empty if it is its own.
func (s *bundleSpec) sandbox() messages.SandboxID {
	if s.isRoot() {
		return ""
	}
	if id := s.annotations[annotationSandboxID]; id != "" {
		return messages.SandboxID(id)
	}
	return messages.SandboxID(s.annotations[annotationSandboxIDCRIO])
}

// prepareSpec makes a bundle's spec one that runsc can run, as gVisor's shim
// does: the pod's cgroup, its volumes and /dev/shm.
//
// shm names the sandbox's /dev/shm where containerd leaves it to the shim, and
// is empty else.
func prepareSpec(s *bundleSpec, shm string, log *slog.Logger) error {
	if err := s.hintVolumes(log); err != nil {
		return err
	}
	s.shareShm()
	if shm != "" {
		s.joinShm(shm)
	}
	s.setPodCgroup()
	return s.save()
}

// setPodCgroup makes the pod's cgroup the parent of the sandbox's. Else the
// whole sandbox would be in the cgroup of its pause container, and within the
// limits of that: of /kubepods/burstable/pod1234/abcd it is
// /kubepods/burstable/pod1234.
func (s *bundleSpec) setPodCgroup() {
	if !s.isRoot() || s.cgroupsPath == "" {
		return
	}
	parts := strings.Split(s.cgroupsPath, "/")
	for i := len(parts) - 1; i >= 0; i-- {
		if !strings.HasPrefix(parts[i], "pod") {
			continue
		}
		pod := strings.Join(parts[:i+1], "/")
		if pod != s.cgroupsPath {
			s.annotate(annotationCgroupParent, pod)
		}
		return
	}
}

// userLog is the file in the pod's log folder that gVisor's messages for the
// pod's owner go to, or empty.
func (s *bundleSpec) userLog() string { return s.podLog("gvisor.log") }

// panicLog is the file that a sandbox's Go panic is written to, or empty.
func (s *bundleSpec) panicLog() string { return s.podLog("gvisor_panic.log") }

func (s *bundleSpec) podLog(name string) string {
	dir := s.annotations[annotationLogDir]
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, name)
}
