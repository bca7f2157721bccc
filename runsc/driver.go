package runsc

import (
	"context"
	"log/slog"
	"os"
	"sync"

	"github.com/troupe-run/troupe/messages"
)

// Driver runs the actors' processes in gVisor sandboxes. It is what
// actors.Driver asks for; see there for what each method promises.
//
// It keeps what the host knows of each incarnation between the call that made it
// and Delete. The lock around that is never held over a call that can block.
type Driver struct {
	options Options
	client  *Client
	log     *slog.Logger
	// codes reads the exit code of a sandbox that is gone. Where the kernel does
	// not keep it and somebody else reaps the sandbox, waits is set: then the
	// sandbox is asked too.
	codes func(*pidfd) exitCode
	waits bool
	// dial makes a client for the sandbox of a container.
	dial func(ctx context.Context, root, container string, o controlOptions) (*controlClient, error)
	// stop is closed by Close; it ends the goroutines that would wait for ever.
	stop chan struct{}

	mu         sync.Mutex
	tell       func(messages.Notice)
	closed     bool
	containers map[messages.Incarnation]*container
	execs      map[messages.Incarnation]*process
	sandboxes  map[messages.SandboxID]*sandbox
	// heirs are what Survivors has found and nobody has taken charge of yet.
	heirs map[messages.ContainerID]*heir
}

// New checks the options, and with [Options.Subreaper] takes over the orphans of
// this process. Whether runsc is there is asked by Info.
func New(o Options) (*Driver, error) {
	client, err := NewClient(o)
	if err != nil {
		return nil, err
	}
	o = client.options
	if o.Subreaper {
		if err := ownOrphans(); err != nil {
			return nil, &messages.Error{Kind: messages.Unavailable, Op: "take over the orphans of this process", Err: os.NewSyscallError("prctl", err), Hint: "Linux 3.4 or later is needed"}
		}
	}
	return &Driver{
		options: o, client: client, log: o.Logger,
		codes: codeOfGone, waits: !o.Subreaper && !pidfdInfoKnown(), dial: dialSandbox,
		stop:       make(chan struct{}),
		tell:       func(messages.Notice) {},
		containers: map[messages.Incarnation]*container{},
		execs:      map[messages.Incarnation]*process{},
		sandboxes:  map[messages.SandboxID]*sandbox{},
		heirs:      map[messages.ContainerID]*heir{},
	}, nil
}

// Client is the command line that the driver itself uses, with the same options.
func (d *Driver) Client() *Client { return d.client }

// Info runs `runsc --version`. Its error, Unavailable, says why nothing can be
// run here.
func (d *Driver) Info(ctx context.Context) (messages.DriverInfo, error) {
	version, err := d.client.Version(ctx)
	if err != nil {
		return messages.DriverInfo{}, about("ask runsc for its version", messages.Process{}, "", err)
	}
	return messages.DriverInfo{Name: "runsc", Version: version}, nil
}

// Notify sets who is told of exits and of OOM. It comes before any Create.
func (d *Driver) Notify(tell func(messages.Notice)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tell = tell
}

// Close ends the driver. What runs is left alone, and its exits are not told any
// more.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	close(d.stop)
	for _, s := range d.sandboxes {
		s.sentry.pidfd.close()
	}
	d.leave()
	return nil
}

func (d *Driver) notify(n messages.Notice) {
	d.mu.Lock()
	tell, closed := d.tell, d.closed
	d.mu.Unlock()
	if !closed {
		tell(n)
	}
}

// container is the init of one incarnation, with everything that Create made.
type container struct {
	driver  *Driver
	init    messages.Incarnation
	create  messages.Create
	bundle  *bundle
	sandbox *sandbox
	streams *streams
	rootfs  *rootfs
	// dir holds the pid files and sockets of the container and its execs.
	dir    string
	cgroup *cgroup
	// lock keeps other drivers from taking charge of dir, and token marks what
	// `runsc create` starts. adoption is nil for a container that was made here.
	lock     *os.File
	token    string
	adoption *adoption
	// log is of the `runsc create` that made the sandbox, which goes on writing
	// to it; nil for a container that joined one.
	log *os.File

	// taken: create found the id in use.
	taken bool

	// started is closed when the container runs, over when its exit was told, and
	// dropped when runsc has let go of it before its exit was known.
	started, over, dropped chan struct{}
	// waited gets what the sandbox tells of a root container's init, if it is
	// asked.
	waited chan int
	// deleting has one slot: who fills it deletes.
	deleting chan struct{}
	// phase and reason are guarded by the driver's lock.
	phase  phase
	reason string
}

// phase of a container, for what may be asked of runsc only once.
type phase int

const (
	phaseCreating phase = iota
	phaseCreated
	phaseStarting
	phaseStarted
	phaseFailed
)

func (c *container) id() string   { return string(c.init.Container) }
func (c *container) isRoot() bool { return isRoot(c.create) }
func (c *container) isOver() bool { return isClosed(c.over) }
func (s *sandbox) isGone() bool   { return isClosed(s.sentry.gone) }
func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// sandbox is one sentry.
type sandbox struct {
	id     messages.SandboxID
	sentry *guard
	link   *link
	// oom counts in the cgroup that the sentry is in: of a pod, kubelet's.
	oom *oomCounter
}

// container finds one that Create has made.
func (d *Driver) container(op string, init messages.Incarnation) (*container, error) {
	d.mu.Lock()
	c := d.containers[init]
	ready := c != nil && c.phase != phaseCreating
	d.mu.Unlock()
	if !ready {
		return nil, &messages.Error{Kind: messages.NotFound, Op: op, Process: init.Process, Err: messages.Text("there is no such container")}
	}
	return c, nil
}

// setReason keeps the first reason why a container's init is about to die.
func (c *container) setReason(reason string) {
	c.driver.mu.Lock()
	defer c.driver.mu.Unlock()
	if c.reason == "" {
		c.reason = reason
	}
}
