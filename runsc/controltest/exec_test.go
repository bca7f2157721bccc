package controltest

import (
	"sort"
	"testing"
	_ "unsafe" // for linkname

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"gvisor.dev/gvisor/pkg/sentry/control"
	_ "gvisor.dev/gvisor/runsc/cmd"
	"gvisor.dev/gvisor/runsc/specutils"
)

// What `runsc exec` itself does (runsc/cmd/exec.go).
//
//go:linkname argsFromProcess gvisor.dev/gvisor/runsc/cmd.argsFromProcess
func argsFromProcess(container, process *specs.Process, netRaw bool) (*control.ExecArgs, error)

//go:linkname validateProcessSpec gvisor.dev/gvisor/runsc/cmd.validateProcessSpec
func validateProcessSpec(p *specs.Process) error

// execCase is a case of exec.json.
type execCase struct {
	Name      string
	Container *specs.Process
	Process   *specs.Process
	NetRaw    bool
	// Want is nil where runsc refuses the process.
	Want *control.ExecArgs
}

// execArgs is the one exec of requests.json.
func execArgs() *control.ExecArgs {
	args, err := argsFromProcess(&specs.Process{}, &specs.Process{
		Args: []string{"sh", "-c", "exit 3"}, Env: []string{"A=B"}, Cwd: "/w",
		User:         specs.User{UID: 1, GID: 2, AdditionalGids: []uint32{3}},
		Capabilities: &specs.LinuxCapabilities{Effective: []string{"CAP_KILL"}}, Terminal: true, NoNewPrivileges: true,
	}, false)
	if err != nil {
		panic(err)
	}
	args.ContainerID = "c1"
	args.FilePayload = control.NewFilePayload(nil, nil)
	args.GuestFDs = []int{0, 1, 2}
	return args
}

// TestExecArgs writes down what `runsc exec` makes of process specs.
func TestExecArgs(t *testing.T) {
	caps := func(names ...string) *specs.LinuxCapabilities {
		return &specs.LinuxCapabilities{Bounding: names, Effective: names, Permitted: names}
	}
	every := specutils.AllCapabilities()
	sort.Strings(every.Bounding)
	plain := specs.Process{Args: []string{"true"}, Cwd: "/", Env: []string{"PATH=/bin"}}
	with := func(change func(*specs.Process)) *specs.Process {
		p := plain
		change(&p)
		return &p
	}
	container := with(func(p *specs.Process) { p.Capabilities = caps("CAP_CHOWN", "CAP_NET_RAW") })
	cases := []execCase{
		{Name: "capabilities of the container", Container: container, Process: &plain},
		{Name: "capabilities of the container, with raw sockets", Container: container, Process: &plain, NetRaw: true},
		{Name: "neither has capabilities", Container: &plain, Process: &plain},
		{Name: "capabilities of its own", Container: container, Process: with(func(p *specs.Process) { p.Capabilities = caps("CAP_KILL") })},
		{Name: "every capability", Container: container, Process: with(func(p *specs.Process) { p.Capabilities = every })},
		{Name: "every capability, with raw sockets", Container: container, Process: with(func(p *specs.Process) { p.Capabilities = every }), NetRaw: true},
		{Name: "sets that differ", Container: container, Process: with(func(p *specs.Process) {
			p.Capabilities = &specs.LinuxCapabilities{
				Bounding: []string{"CAP_CHOWN"}, Effective: []string{"CAP_KILL"}, Inheritable: []string{"CAP_BPF"},
				Permitted: []string{"CAP_SETUID"}, Ambient: []string{"CAP_SYSLOG"},
			}
		})},
		{Name: "no capabilities", Container: container, Process: with(func(p *specs.Process) { p.Capabilities = &specs.LinuxCapabilities{} })},
		{Name: "unknown capability", Container: container, Process: with(func(p *specs.Process) { p.Capabilities = caps("CAP_FLY") })},
		{Name: "capability without its prefix", Container: container, Process: with(func(p *specs.Process) { p.Capabilities = caps("KILL") })},
		{Name: "user and groups", Container: container, Process: with(func(p *specs.Process) {
			p.User = specs.User{UID: 4294967294, GID: 7, AdditionalGids: []uint32{8, 9}}
		})},
		{Name: "terminal", Container: container, Process: with(func(p *specs.Process) { p.Terminal = true })},
		{Name: "no new privileges", Container: container, Process: with(func(p *specs.Process) { p.NoNewPrivileges = true })},
		{Name: "no environment", Container: container, Process: with(func(p *specs.Process) { p.Env = nil })},
		{Name: "limits and the like are left out", Container: container, Process: with(func(p *specs.Process) {
			p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 1, Soft: 1}}
			p.ApparmorProfile, p.SelinuxLabel = "a", "b"
		})},
		{Name: "no cwd", Container: container, Process: with(func(p *specs.Process) { p.Cwd = "" })},
		{Name: "relative cwd", Container: container, Process: with(func(p *specs.Process) { p.Cwd = "bin" })},
		{Name: "no command", Container: container, Process: with(func(p *specs.Process) { p.Args = nil })},
	}
	for i := range cases {
		c := &cases[i]
		if validateProcessSpec(c.Process) != nil {
			continue
		}
		args, err := argsFromProcess(c.Container, c.Process, c.NetRaw)
		if err != nil {
			continue
		}
		args.GuestFDs = []int{0, 1, 2}
		c.Want = args
	}
	hold(t, "exec.json", cases)
}
