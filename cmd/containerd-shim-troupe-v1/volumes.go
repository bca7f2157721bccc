package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/messages"
)

const (
	// mountHint begins the annotations by which runsc learns what a pod's
	// volume is: dev.gvisor.spec.mount.NAME.{type,source,share,options}
	// (gVisor: runsc/boot/mount_hints.go). An admission webhook sets the type;
	// only the host knows the source.
	mountHint = "dev.gvisor.spec.mount."
	// emptyDirHint begins a user's annotations of an emptyDir.
	emptyDirHint = "dev.gvisor.empty-dir."
	hostUDSFlag  = "dev.gvisor.flag.host-uds"

	// shmVolume names /dev/shm among the volumes; no user's volume has the name.
	shmVolume = "gvisorinternaldevshm"

	emptyDirFolder = "kubernetes.io~empty-dir"
	// filestorePrefix begins the file by which runsc backs a disk-backed
	// emptyDir, in that folder.
	filestorePrefix = ".gvisor.filestore."
	// gcsFuseVolume is the emptyDir through which the sidecar of GKE's GCS FUSE
	// driver meets its driver over a socket.
	gcsFuseVolume = "gke-gcsfuse-tmp"
)

// kubeletPods is where kubelet keeps the volumes of pods:
// <pod uid>/volumes/<kind>/<name>.
var kubeletPods = "/var/lib/kubelet/pods"

// hintVolumes completes the annotations of the pod's volumes.
//
// The webhook says "tmpfs" for an emptyDir of medium Memory and "bind" for one
// on disk. runsc keeps both inside of the sandbox if the annotation says tmpfs,
// and tells them apart by the mount's own type (tmpfs: memory, bind: disk). In
// the root container the source is added and the type becomes tmpfs; in the
// others the mount's type becomes the webhook's.
//
// An emptyDir that something on the host has put files into is shared with the
// host, as a CSI driver's socket is, and stays a bind mount.
func (s *bundleSpec) hintVolumes(log *slog.Logger) error {
	keys := make([]string, 0, len(s.annotations))
	for key := range s.annotations {
		if strings.HasPrefix(key, mountHint) && strings.HasSuffix(key, ".type") {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		name, _, _ := strings.Cut(strings.TrimPrefix(key, mountHint), ".")
		if name == shmVolume {
			continue
		}
		if !s.isRoot() {
			s.typeMounts(name, s.annotations[key], log)
			continue
		}
		pod, ok := s.podUID()
		if !ok {
			// Without the pod's log folder its uid can not be known; the mounts
			// work as bind mounts.
			return nil
		}
		source, err := volumeSource(pod, name)
		if err != nil {
			return err
		}
		s.annotate(mountHint+name+".source", source)
		if !strings.Contains(source, emptyDirFolder) {
			continue
		}
		if s.sharedWithHost(name, source, log) {
			s.annotate(key, "bind")
			s.annotate(mountHint+name+".share", "shared")
		} else {
			s.annotate(key, "tmpfs")
		}
	}
	return nil
}

// typeMounts gives the mounts of a volume the type that the webhook said.
func (s *bundleSpec) typeMounts(name, kind string, log *slog.Logger) {
	pattern := filepath.Join(kubeletPods, "*/volumes/*", name)
	for i := range s.mounts {
		m := &s.mounts[i]
		if ok, err := filepath.Match(pattern, m.Source); err != nil || !ok {
			continue
		}
		if strings.Contains(m.Source, emptyDirFolder) && s.sharedWithHost(name, m.Source, log) {
			continue
		}
		s.setType(m, kind)
	}
}

// sharedWithHost tells whether an emptyDir must stay a bind mount.
func (s *bundleSpec) sharedWithHost(name, dir string, log *slog.Logger) bool {
	key := emptyDirHint + name + ".force-shared"
	forced := false
	if v, ok := s.annotations[key]; ok {
		var err error
		if forced, err = strconv.ParseBool(v); err != nil {
			log.Warn("the annotation is not a truth value and is ignored", "annotation", key, "value", v)
		}
	}
	if !forced && onlyOurs(dir, log) {
		return false
	}
	log.Info("the emptyDir is shared with the host and stays a bind mount", "volume", name, "forced", forced)
	if name == gcsFuseVolume && s.annotations[hostUDSFlag] == "" {
		s.annotate(hostUDSFlag, "open")
	}
	return true
}

// onlyOurs tells whether a folder has nothing in it but a file of runsc. What
// can not be read counts as empty, as in gVisor's shim.
func onlyOurs(dir string, log *slog.Logger) bool {
	f, err := os.Open(dir)
	if err != nil {
		log.Warn("the emptyDir can not be read and is taken for empty", "dir", dir, "error", err)
		return true
	}
	defer f.Close()
	names, err := f.Readdirnames(2)
	if err != nil && !errors.Is(err, io.EOF) {
		log.Warn("the emptyDir can not be read and is taken for empty", "dir", dir, "error", err)
		return true
	}
	return len(names) == 0 || len(names) == 1 && strings.HasPrefix(names[0], filestorePrefix)
}

// podUID is the last part of the pod's log folder: <namespace>_<name>_<uid>,
// or the uid alone with old kubelets.
func (s *bundleSpec) podUID() (string, bool) {
	dir := s.annotations[annotationLogDir]
	if dir == "" {
		return "", false
	}
	parts := strings.Split(filepath.Base(dir), "_")
	switch len(parts) {
	case 1, 3:
		return parts[len(parts)-1], true
	}
	return "", false
}

func volumeSource(pod, name string) (string, error) {
	pattern := filepath.Join(kubeletPods, pod, "volumes/*", name)
	found, err := filepath.Glob(pattern)
	if err == nil && len(found) == 1 {
		return found[0], nil
	}
	if err == nil {
		err = fmt.Errorf("%s matches %d folders and must match one", pattern, len(found))
	}
	return "", &messages.Error{
		Kind: messages.InvalidArgument,
		Op:   fmt.Sprintf("find the folder of volume %q", name),
		Err:  err,
		Hint: fmt.Sprintf("look at the pod's annotations %s%s.*", mountHint, name),
	}
}

// shmHint are the annotations of a root container by which runsc makes a
// /dev/shm for the pod. The other containers' options are not known there; each
// has its own on its own mount.
func shmHint(source string) map[string]string {
	const hint = mountHint + shmVolume
	return map[string]string{hint + ".source": source, hint + ".type": "tmpfs", hint + ".share": "pod", hint + ".options": "rw"}
}

// joinShm makes a container's own /dev/shm that of its sandbox: containerd
// leaves the sharing to a sandbox of its sandbox API.
func (s *bundleSpec) joinShm(source string) {
	for i := range s.mounts {
		if m := &s.mounts[i]; m.Destination == "/dev/shm" && m.Type == "tmpfs" && m.Source != source {
			m.Source, s.changed = source, true
		}
	}
}

// shareShm makes /dev/shm a tmpfs that the pod's containers share within the
// sandbox. CRI binds a folder of the host, and glibc's shm_open(3) looks for a
// tmpfs.
func (s *bundleSpec) shareShm() {
	const dest, kind = "/dev/shm", "tmpfs"
	bind := slices.IndexFunc(s.mounts, func(m specs.Mount) bool { return m.Destination == dest && m.Type == "bind" })
	if bind < 0 {
		return
	}
	m := &s.mounts[bind]
	if s.isRoot() {
		for key, value := range shmHint(m.Source) {
			s.annotate(key, value)
		}
	}
	s.setType(m, kind)
	// Some specs mount a tmpfs there as well; it would hide the shared one.
	source := m.Source
	s.mounts = slices.DeleteFunc(s.mounts, func(m specs.Mount) bool {
		return m.Destination == dest && m.Type == kind && m.Source != source
	})
}

// setType changes a mount's type; a mount that is no bind loses the options
// that would make it one again (runtime-spec, config.md, mounts).
func (s *bundleSpec) setType(m *specs.Mount, kind string) {
	options := m.Options
	if kind != "bind" {
		options = slices.DeleteFunc(slices.Clone(options), func(o string) bool { return o == "bind" || o == "rbind" })
	}
	if m.Type == kind && len(options) == len(m.Options) {
		return
	}
	m.Type, m.Options, s.changed = kind, options, true
}
