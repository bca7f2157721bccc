package runsc

import (
	"fmt"
	"path/filepath"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/messages"
)

// newExecArgs says in the words of the control server what `runsc exec
// --process` runs for a process spec (runsc/cmd/exec.go, argsFromProcess, and
// runsc/specutils, Capabilities). container is the spec's process of the
// container, whose capabilities are the default; netRaw tells whether the
// sandbox was started with --net-raw. It is pure.
func newExecArgs(container, process *specs.Process, netRaw bool) (execArgs, error) {
	switch {
	case len(process.Args) == 0:
		return execArgs{}, messages.Text("there is no command")
	case !filepath.IsAbs(process.Cwd):
		return execArgs{}, fmt.Errorf("cwd %q is not an absolute path", process.Cwd)
	}
	named := process.Capabilities
	if named == nil && container != nil {
		named = container.Capabilities
	}
	capabilities, err := newTaskCapabilities(named, netRaw)
	if err != nil {
		return execArgs{}, err
	}
	return execArgs{
		Argv:             process.Args,
		Envv:             process.Env,
		WorkingDirectory: process.Cwd,
		KUID:             process.User.UID,
		KGID:             process.User.GID,
		ExtraKGIDs:       append([]uint32{}, process.User.AdditionalGids...),
		NoNewPrivileges:  process.NoNewPrivileges,
		Capabilities:     capabilities,
		StdioIsPty:       process.Terminal,
		SupportTTYs:      true,
		GuestFDs:         []int{0, 1, 2},
	}, nil
}

// newTaskCapabilities is no capability at all where none is named.
func newTaskCapabilities(named *specs.LinuxCapabilities, netRaw bool) (taskCapabilities, error) {
	var caps taskCapabilities
	if named == nil {
		return caps, nil
	}
	for _, set := range []struct {
		names []string
		bits  *uint64
	}{
		{named.Bounding, &caps.BoundingCaps},
		{named.Effective, &caps.EffectiveCaps},
		{named.Inheritable, &caps.InheritableCaps},
		{named.Permitted, &caps.PermittedCaps},
		{named.Ambient, &caps.AmbientCaps},
	} {
		for _, name := range set.names {
			n, ok := capabilityNumbers[name]
			if !ok {
				return taskCapabilities{}, fmt.Errorf("unknown capability %q", name)
			}
			// Docker names NET_RAW in every exec, so that runsc takes it away
			// where raw sockets are off, as it does for init.
			if name == "CAP_NET_RAW" && !netRaw {
				continue
			}
			*set.bits |= 1 << n
		}
	}
	return caps, nil
}

// capabilityNumbers are those of include/uapi/linux/capability.h.
var capabilityNumbers = func() map[string]uint {
	names := []string{
		"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL",
		"SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE",
		"NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
		"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
		"SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME",
		"SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL",
		"SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM",
		"BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
	}
	numbers := make(map[string]uint, len(names))
	for i, name := range names {
		numbers["CAP_"+name] = uint(i)
	}
	return numbers
}()

// netRawAnnotation overrides the flag --net-raw for a container, where runsc is
// told --allow-flag-override (runsc/specutils, FixConfig).
const netRawAnnotation = "dev.gvisor.flag.net-raw"

// netRawAllowed tells whether CAP_NET_RAW reaches the processes of a container:
// flag and override are what runsc is given as --net-raw and
// --allow-flag-override. A value that can not be read gives no right.
func netRawAllowed(flag, override bool, annotations map[string]string) bool {
	value, ok := annotations[netRawAnnotation]
	if !ok || !override {
		return flag
	}
	allowed, err := strconv.ParseBool(value)
	return err == nil && allowed
}
