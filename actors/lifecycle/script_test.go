package lifecycle

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/messages"
)

// TestScripts walks the machines through the stories of testdata. A directive
// is an input of the machine at hand; what comes out is its effects, one a line,
// and the phase that it is in then.
//
//	process c/x#2 [terminal]   container c#1   sandbox s   directory   tree
//	                        begin with a new machine; a tree is all of them,
//	                        with their mailboxes read at once and in order
//	limits waiters=1 ...    for the machines that begin after it
//	start c/x [for=NAME]    and every other command; without for, nobody asks
//	ok N, fail N KIND, late N   the driver's answer to call N; late: there is
//	                        none by the deadline
//	exit [P] status=N, oom [P]  what the host tells
//	notice NAME P           what a child tells its parent
//	gives-up NAME [P], doom, expire, drop, drained, crash, drain-timeout
//
// After a change: go test ./actors/lifecycle -rewrite, and read the difference.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &script{t: t, limits: Limits{Waiters: 8, Postponed: 8, Calls: 8, Execs: 8, Containers: 8}}
		datadriven.RunTest(t, path, func(t *testing.T, td *datadriven.TestData) string { return s.run(td) })
	})
}

// script is the machine at hand.
type script struct {
	t      *testing.T
	limits Limits
	step   func(Input) []Effect
	phase  func() string
	self   messages.Process
	// counts: the machine is given the numbers of incarnations, as a directory
	// would; last is the last.
	counts bool
	last   uint64
	tree   *world
}

func (s *script) run(td *datadriven.TestData) string {
	switch td.Cmd {
	case "limits":
		for _, a := range td.CmdArgs {
			*map[string]*int{
				"waiters": &s.limits.Waiters, "postponed": &s.limits.Postponed, "calls": &s.limits.Calls,
				"execs": &s.limits.Execs, "containers": &s.limits.Containers,
			}[a.Key] = atoi(td, a.Vals[0])
		}
		return "ok"
	case "process", "container", "sandbox", "directory", "tree":
		return s.begin(td)
	}
	if s.tree != nil {
		return s.play(td)
	}
	return s.take(s.input(td))
}

func (s *script) take(in Input) string {
	var b strings.Builder
	for _, e := range s.step(in) {
		b.WriteString(effectText(e) + "\n")
	}
	return b.String() + "= " + s.phase()
}

// begin makes the machine at hand.
func (s *script) begin(td *datadriven.TestData) string {
	cfg := &Config{Limits: s.limits, RuntimePID: 1, Driver: messages.DriverInfo{Name: "fake"}}
	stdio := messages.Stdio{Terminal: td.HasArg("terminal")}
	create := messages.Create{Bundle: "/b", Stdio: stdio}
	s.tree, s.counts, s.last = nil, false, 0
	switch td.Cmd {
	case "process":
		id := s.incarnation(td, td.CmdArgs[0].Key)
		init := messages.Incarnation{Process: messages.Init(id.Container), Number: 1}
		p := NewInit(init, messages.SandboxID(id.Container), create, cfg)
		if !id.IsInit() {
			p = NewExec(id, p, execOf(id.Process, stdio))
		}
		hold(s, p, func(p Process) string { return p.Phase.String() })
		s.self = id.Process
	case "container":
		id := s.incarnation(td, td.CmdArgs[0].Key)
		hold(s, NewContainer(id, messages.SandboxID(id.Container), create, cfg), func(c Container) string {
			return fmt.Sprintf("%s, init %s", c.Phase, c.Init.Phase)
		})
		// The number of the Create that it gets first is not looked at.
		s.self, s.counts, s.last = id.Process, true, id.Number-1
	case "sandbox":
		hold(s, NewSandbox(messages.SandboxID(td.CmdArgs[0].Key), cfg), func(b Sandbox) string {
			return fmt.Sprintf("%s, %s", b.Phase, b.Health)
		})
		s.counts = true
	case "directory":
		hold(s, NewDirectory(cfg), func(d Directory) string { return d.Phase.String() })
	case "tree":
		s.tree = newWorld(s.t, seeded(0), s.limits)
		return "= Serving"
	}
	return "= " + s.phase()
}

func hold[M interface{ Step(Input) (M, []Effect) }](s *script, m M, phase func(M) string) {
	s.step = func(in Input) (out []Effect) {
		m, out = m.Step(in)
		return out
	}
	s.phase = func() string { return phase(m) }
}

// input reads a directive.
func (s *script) input(td *datadriven.TestData) Input {
	switch td.Cmd {
	case "ok":
		return Answer{Op: Op(atoi(td, td.CmdArgs[0].Key)), PIDs: pidsOf(td)}
	case "fail", "late":
		return s.failure(td)
	case "exit":
		return Exit{Exit: exitOf(td)}
	case "oom":
		return OOM{}
	case "gives-up":
		return Abandon{Asker: td.CmdArgs[0].Key, Process: s.process(td, 1)}
	case "doom":
		return Doom{Reason: "the init of container c has exited"}
	case "expire":
		return Expire{At: epoch}
	case "drop":
		return Drop{}
	case "drained":
		return Drained{}
	case "crash":
		return Crash{Reason: "panic in its actor"}
	case "drain-timeout":
		return DrainExpired{At: epoch}
	case "notice":
		return s.notice(td)
	}
	return s.command(td)
}

var epoch = time.Unix(0, 0).UTC()

func (s *script) failure(td *datadriven.TestData) Answer {
	a := Answer{Op: Op(atoi(td, td.CmdArgs[0].Key))}
	kind := messages.DeadlineExceeded
	if td.Cmd == "late" {
		a.Overdue = true
	} else {
		kind = kindOf(td, td.CmdArgs[1].Key)
	}
	a.Err = &messages.Error{Kind: kind, Op: "call the driver", Err: messages.Text("it says so")}
	return a
}

func (s *script) notice(td *datadriven.TestData) Input {
	id := s.incarnation(td, td.CmdArgs[1].Key)
	switch name := td.CmdArgs[0].Key; name {
	case "started":
		return Started{Process: id, PIDs: pidsOf(td)}
	case "failed":
		return Failed{Process: id}
	case "exited":
		return Exited{Process: id}
	case "deleted":
		d := Deleted{Process: id}
		if to := nameOf(td, "for"); to != nil {
			d.Replies = []Reply{{To: to, Reply: messages.Deleted{Process: id.Process}}}
		}
		return d
	case "crashed":
		return Crashed{Process: id}
	case "lost":
		return Lost{Process: id, At: epoch}
	case "made":
		return Made{Process: id}
	case "unresponsive":
		return Unresponsive{Process: id}
	default:
		td.Fatalf(s.t, "no notice is called %s", name)
		return nil
	}
}

// command reads a command; its process is the machine's own unless it is named.
func (s *script) command(td *datadriven.TestData) Command {
	c := Command{Asker: nameOf(td, "for"), Cmd: s.cmd(td)}
	if s.counts && (td.Cmd == "create" || td.Cmd == "exec") {
		s.last++
		c.Number = s.last
	}
	return c
}

func (s *script) cmd(td *datadriven.TestData) messages.AnyCommand {
	p := s.process(td, 0)
	switch td.Cmd {
	case "create":
		return messages.Create{Container: p.Container, Sandbox: messages.SandboxID(stringOf(td, "sandbox")), Bundle: "/b"}
	case "exec":
		return execOf(p, messages.Stdio{Terminal: td.HasArg("terminal")})
	case "start":
		return messages.Start{Process: p}
	case "kill":
		signal := syscall.SIGTERM
		if td.HasArg("KILL") {
			signal = syscall.SIGKILL
		}
		return messages.Kill{Process: p, Signal: signal, All: td.HasArg("all")}
	case "resize":
		return messages.Resize{Process: p, Size: messages.WindowSize{Cols: uint16(atoi(td, stringOf(td, "cols"))), Rows: 24}}
	case "closeio":
		return messages.CloseIO{Process: p}
	case "pause":
		return messages.Pause{Container: p.Container}
	case "resume":
		return messages.Resume{Container: p.Container}
	case "update":
		return messages.Update{Container: p.Container, Resources: &messages.Resources{}}
	case "checkpoint":
		return messages.Checkpoint{Container: p.Container, ImagePath: "/i"}
	case "state":
		return messages.State{Process: p}
	case "pids":
		return messages.Pids{Container: p.Container}
	case "stats":
		return messages.Stats{Container: p.Container}
	case "wait":
		return messages.Wait{Process: p}
	case "delete":
		return messages.Delete{Process: p}
	case "connect":
		return messages.Connect{Container: p.Container}
	case "info":
		return messages.Info{}
	case "shutdown":
		return messages.Shutdown{Now: td.HasArg("now")}
	}
	td.Fatalf(s.t, "no such directive")
	return nil
}

func execOf(p messages.Process, stdio messages.Stdio) messages.Exec {
	return messages.Exec{Process: p, Spec: messages.ExecSpec{Process: specs.Process{Args: []string{"true"}}}, Stdio: stdio}
}

// process reads the argument at i, if it names one.
func (s *script) process(td *datadriven.TestData, i int) messages.Process {
	if len(td.CmdArgs) <= i || len(td.CmdArgs[i].Vals) > 0 || td.CmdArgs[i].Key == "KILL" || td.CmdArgs[i].Key == "now" {
		return s.self
	}
	p, err := messages.ParseProcess(td.CmdArgs[i].Key)
	if err != nil {
		td.Fatalf(s.t, "%v", err)
	}
	return p
}

func (s *script) incarnation(td *datadriven.TestData, text string) messages.Incarnation {
	name, number, ok := strings.Cut(text, "#")
	p, err := messages.ParseProcess(name)
	if !ok || err != nil {
		td.Fatalf(s.t, "%s is not a process and its number", text)
	}
	return messages.Incarnation{Process: p, Number: uint64(atoi(td, number))}
}

func atoi(td *datadriven.TestData, text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(fmt.Sprintf("%s: %v", td.Pos, err))
	}
	return n
}

func stringOf(td *datadriven.TestData, key string) string {
	if a, ok := td.Arg(key); ok && len(a.Vals) == 1 {
		return a.Vals[0]
	}
	return ""
}

// nameOf is an asker by its name, or nil.
func nameOf(td *datadriven.TestData, key string) Asker {
	if name := stringOf(td, key); name != "" {
		return name
	}
	return nil
}

func pidsOf(td *datadriven.TestData) messages.PIDs {
	if text := stringOf(td, "pid"); text != "" {
		n := atoi(td, text)
		return messages.PIDs{Host: 1000 + n, Guest: n}
	}
	return messages.PIDs{}
}

func exitOf(td *datadriven.TestData) messages.Exit {
	return messages.Exit{Status: atoi(td, stringOf(td, "status")), At: epoch}
}

func kindOf(td *datadriven.TestData, name string) error {
	for _, k := range messages.Kinds() {
		if k.Error() == name {
			return k
		}
	}
	panic(fmt.Sprintf("%s: no kind is called %s", td.Pos, name))
}

func signalText(s syscall.Signal) string {
	if name, ok := map[syscall.Signal]string{syscall.SIGKILL: "KILL", syscall.SIGTERM: "TERM"}[s]; ok {
		return name
	}
	return strconv.Itoa(int(s))
}
