package fake

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/messages"
)

// host is the world that the driver pretends to have. One goroutine uses it.
type host struct {
	tell      func(messages.Notice)
	do        func(func()) // runs something in that goroutine
	processes map[messages.Incarnation]*process
	// sandboxes has the root container of each.
	sandboxes map[messages.SandboxID]messages.Incarnation
	pids      int
}

func newHost(do func(func())) *host {
	return &host{
		tell: func(messages.Notice) {}, do: do,
		processes: make(map[messages.Incarnation]*process),
		sandboxes: make(map[messages.SandboxID]messages.Incarnation),
	}
}

// process is an init or an exec.
type process struct {
	id      messages.Incarnation
	init    messages.Incarnation
	sandbox messages.SandboxID
	program program
	stdio   messages.Stdio
	closed  bool // stdin ended before it began
	started bool
	exited  bool
	running *run
	// bundle and pids are for a successor; orphan: no runtime is in charge.
	bundle string
	spec   messages.ExecSpec
	pids   messages.PIDs
	orphan bool
	// ended: it exited as an orphan, and nobody saw how.
	ended   bool
	adopted bool
}

func (p *process) live() bool { return p.started && !p.exited }

func refuse(op string, p messages.Incarnation, kind error, why string) error {
	return &messages.Error{Kind: kind, Op: op, Process: p.Process, Err: messages.Text(why)}
}

func (h *host) newPIDs() messages.PIDs {
	h.pids++
	return messages.PIDs{Host: 1000 + h.pids, Guest: h.pids}
}

// create makes a container from the command of its bundle. A bundle that does
// not exist gives one that sleeps, for tests that need no command. Like runsc,
// the host knows containers by their id alone.
func (h *host) create(id messages.Incarnation, c messages.Create) (messages.PIDs, error) {
	if c.Adopt != nil {
		return h.adopt(id, id)
	}
	for other := range h.processes {
		if other.Process == id.Process {
			return messages.PIDs{}, refuse("create", id, messages.AlreadyExists, "the host has a container of that id")
		}
	}
	spec, err := readCommand(c.Bundle)
	if err != nil {
		return messages.PIDs{}, refuse("create", id, messages.InvalidArgument, err.Error())
	}
	prog, err := parse(spec)
	if err != nil {
		return messages.PIDs{}, refuse("create", id, messages.InvalidArgument, err.Error())
	}
	sandbox := c.Sandbox
	if sandbox == "" {
		sandbox = messages.SandboxID(c.Container)
	}
	if _, ok := h.sandboxes[sandbox]; !ok {
		h.sandboxes[sandbox] = id
	}
	p := &process{id: id, init: id, sandbox: sandbox, program: prog, stdio: c.Stdio, bundle: c.Bundle, pids: h.newPIDs()}
	h.processes[id] = p
	return p.pids, nil
}

func readCommand(bundle string) (*specs.Process, error) {
	b, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return &specs.Process{Args: []string{"sleep", "inf"}}, nil
	}
	if err != nil {
		return nil, err
	}
	var spec specs.Spec
	if err := json.Unmarshal(b, &spec); err != nil {
		return nil, err
	}
	if spec.Process == nil {
		return nil, errors.New("config.json has no process")
	}
	return spec.Process, nil
}

func (h *host) start(id messages.Incarnation) error {
	p := h.processes[id]
	switch {
	case p == nil:
		return refuse("start", id, messages.NotFound, "no such container")
	case p.ended:
		h.tellEnded(p)
		return nil
	case p.adopted && p.started:
		return nil
	case p.started || p.exited:
		return refuse("start", id, messages.FailedPrecondition, "it is not created")
	}
	h.begin(p)
	return nil
}

func (h *host) exec(l messages.Launch) (messages.PIDs, error) {
	if l.Adopt != nil {
		return h.adopt(l.Process, l.Init)
	}
	parent := h.processes[l.Init]
	if parent == nil || parent.exited {
		return messages.PIDs{}, refuse("exec", l.Process, messages.FailedPrecondition, "the container does not run")
	}
	prog, err := parse(&l.Spec.Process)
	if err != nil {
		return messages.PIDs{}, refuse("exec", l.Process, messages.NotFound, err.Error())
	}
	p := &process{id: l.Process, init: l.Init, sandbox: parent.sandbox, program: prog, stdio: l.Stdio, spec: l.Spec, closed: l.StdinClosed}
	p.pids = h.newPIDs()
	h.processes[l.Process] = p
	h.begin(p)
	return p.pids, nil
}

// begin runs a process. Its exit is told when its program ends.
func (h *host) begin(p *process) {
	p.started = true
	p.running = newRun(p)
	go func(r *run) {
		status := r.execute()
		h.do(func() { h.exit(p, messages.Exit{Status: status}) })
	}(p.running)
}

// exit ends a process, and with an init all of its container, and with a root
// container all of its sandbox.
func (h *host) exit(p *process, e messages.Exit) {
	if p.exited {
		return
	}
	p.exited = true
	if p.running != nil {
		p.running.kill()
	}
	if e.At.IsZero() {
		e.At = at()
	}
	if p.orphan {
		p.ended = true
	} else {
		h.tell(messages.ExitNotice{Process: p.id, Exit: e})
	}
	for _, other := range h.processes {
		inContainer := p.id.IsInit() && other.init == p.id
		inSandbox := h.sandboxes[p.sandbox] == p.id && other.sandbox == p.sandbox
		if other != p && (inContainer || inSandbox) && (other.started || other.id.IsInit()) {
			h.exit(other, messages.Exit{Status: messages.ExitKilled, Reason: "the sandbox is gone"})
		}
	}
}

func (h *host) kill(id messages.Incarnation, signal syscall.Signal, all bool) error {
	p := h.processes[id]
	if p == nil || p.exited {
		return refuse("kill", id, messages.NotFound, "no such process")
	}
	if !p.started && !p.id.IsInit() {
		return refuse("kill", id, messages.FailedPrecondition, "it was never started")
	}
	if !deadly(signal) {
		return nil
	}
	h.exit(p, messages.Exit{Status: 128 + int(signal)})
	_ = all // an init's exit takes its container with it
	return nil
}

// deadly tells whether a signal ends a process that does not handle it
// (signal(7)).
func deadly(s syscall.Signal) bool {
	switch s {
	case syscall.SIGCHLD, syscall.SIGCONT, syscall.SIGURG, syscall.SIGWINCH,
		syscall.SIGSTOP, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU:
		return false
	}
	return true
}

func (h *host) killSandbox(id messages.Incarnation) {
	p := h.processes[id]
	if p == nil {
		return
	}
	root := h.processes[h.sandboxes[p.sandbox]]
	if root == nil {
		root = p
	}
	h.exit(root, messages.Exit{Status: messages.ExitKilled, Reason: "the sandbox was killed"})
}

func (h *host) mustRun(id messages.Incarnation) error {
	if p := h.processes[id]; p == nil || p.exited {
		return refuse("use", id, messages.FailedPrecondition, "it does not run")
	}
	return nil
}

func (h *host) resize(id messages.Incarnation, size messages.WindowSize) error {
	if p := h.processes[id]; p != nil && p.running != nil {
		p.running.resize(size)
	}
	return nil
}

func (h *host) closeIO(id messages.Incarnation) error {
	p := h.processes[id]
	switch {
	case p == nil:
	case p.running != nil:
		p.running.closeIn()
	default:
		p.closed = true
	}
	return nil
}

func (h *host) count(init messages.Incarnation) (n uint64) {
	for _, p := range h.processes {
		if p.init == init && p.live() {
			n++
		}
	}
	return n
}

// delete forgets a process, and with an init all of its container.
func (h *host) delete(id messages.Incarnation) {
	p := h.processes[id]
	if p == nil {
		return
	}
	if p.id.IsInit() || p.live() {
		h.exit(p, messages.Exit{Status: messages.ExitKilled, Reason: "deleted"})
	}
	for other, q := range h.processes {
		if q.init == id {
			delete(h.processes, other)
		}
	}
	delete(h.processes, id)
	if h.sandboxes[p.sandbox] == id {
		delete(h.sandboxes, p.sandbox)
	}
}

// stop ends every program without telling.
func (h *host) stop() {
	for _, p := range h.processes {
		if p.running != nil {
			p.running.kill()
		}
	}
}
