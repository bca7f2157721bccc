package runsc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/troupe-run/troupe/messages"
)

// A controlClient speaks to the control server of one sandbox: for all of its
// containers, from any number of goroutines. It does what `runsc exec`, `wait`,
// `kill`, `ps`, `events` and `state` do, without a process for each.
//
// The protocol is gVisor's own and changes without notice, so that a client is
// verified before it is used (verify), and the command line takes its place
// where that fails.
//
// Errors are *messages.Error. Beside their kind, errors.Is tells
// errNotConnected (not done) and ErrReplyLost and errBadReply (not known
// whether done); a *refusal in the chain is the sandbox's own no.
type controlClient struct {
	root    string
	options controlOptions
	sandbox sandboxRecord
	// socket names the sandbox's socket.
	socket *os.File

	mu     sync.Mutex
	closed bool
	active map[*controlConn]struct{}
	// kept are the connections of execs that nobody waits for yet, by the pid in
	// the sandbox. They are active too.
	kept    map[int]*controlConn
	records map[messages.ContainerID]*cachedRecord
}

// controlOptions are how runsc is used, as far as an exec depends on it.
type controlOptions struct {
	// Timeout bounds every call but the waits, from connecting to the answer;
	// zero is 10 seconds. The context's own deadline is kept if it is earlier.
	Timeout time.Duration
	// NetRaw, FlagOverride and Rootless are runsc's flags --net-raw,
	// --allow-flag-override and --rootless.
	NetRaw, FlagOverride, Rootless bool
}

// Bounds of a client.
const (
	defaultControlTimeout = 10 * time.Second
	// Replies of a fixed shape are small; a refusal quotes the command.
	maxReply = 64 << 10
	// maxListReply holds about 60,000 processes.
	maxListReply = 16 << 20
	// maxStatsReply has a line for every container and network interface.
	maxStatsReply = 1 << 20
	// lateAnswer is how long the answer to an exec is waited for whose caller
	// has gone, so that what it started can be killed.
	lateAnswer = time.Minute
)

// dialSandbox makes a client for the sandbox of a container, from what runsc
// wrote into its root folder, and connects once. It is NotFound for a
// container that runsc does not know, and Unavailable where the sandbox can
// not be spoken to, or is not the process that runsc says it is.
func dialSandbox(ctx context.Context, root, container string, o controlOptions) (*controlClient, error) {
	const op = "connect to the sandbox of"
	id := messages.ContainerID(container)
	if err := id.Validate(); err != nil {
		return nil, err
	}
	if o.Timeout == 0 {
		o.Timeout = defaultControlTimeout
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, recordError(op, id, err)
	}
	c := &controlClient{
		root:    root,
		options: o,
		active:  map[*controlConn]struct{}{},
		kept:    map[int]*controlConn{},
		records: map[messages.ContainerID]*cachedRecord{},
	}
	record, err := c.record(op, id)
	if err != nil {
		return nil, err
	}
	if record.Sandbox == nil || record.Sandbox.PID <= 0 {
		return nil, controlError(op, messages.Init(id), fmt.Errorf("%w: the state file names no sandbox that lives", errNotConnected))
	}
	c.sandbox = *record.Sandbox
	if c.socket, err = openSocket(root, record.Sandbox); err != nil {
		return nil, controlError(op, messages.Init(id), err)
	}
	conn, err := c.connect(ctx, c.deadline(ctx))
	if err == nil {
		var pid int
		pid, err = conn.peerPID()
		c.disconnect(conn)
		if err == nil && pid != c.sandbox.PID {
			err = fmt.Errorf("%w: process %d answers there, and the sandbox is process %d", errNotConnected, pid, c.sandbox.PID)
		}
	}
	if err != nil {
		_ = c.Close()
		return nil, controlError(op, messages.Init(id), err)
	}
	return c, nil
}

// Close ends every call that is under way, with Canceled, and every later one.
// What runs in the sandbox goes on.
func (c *controlClient) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	for conn := range c.active {
		conn.close()
	}
	return c.socket.Close()
}

// connect makes a connection for one call, or for an exec and the wait for it.
//
// None is kept for any other call: a sandbox whose init has exited waits up to 15
// seconds for its clients to close their connections, idle or not, before its
// process ends (runsc/boot/controller.go, stop; --control-rpc-stop-timeout), and
// init's exit would be told that much later.
func (c *controlClient) connect(ctx context.Context, deadline time.Time) (*controlConn, error) {
	var conn *controlConn
	// The number is the socket's for as long as withFDs holds it.
	err := withFDs([]*os.File{c.socket}, nil, func(fds []int) (err error) {
		conn, err = dialControl(ctx, fmt.Sprintf("/proc/self/fd/%d", fds[0]), deadline)
		return err
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		if err == nil {
			conn.close()
		}
		return nil, errClientClosed
	}
	if err != nil {
		return nil, err
	}
	c.active[conn] = struct{}{}
	return conn, nil
}

func (c *controlClient) disconnect(conn *controlConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.active, conn)
	conn.close()
}

// keep keeps the connection of an exec for the wait for it, which comes soon: to
// connect anew would be a tenth of the work of both.
func (c *controlClient) keep(pid int, conn *controlConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept[pid] != nil {
		// Of a process with the same number, which nobody has waited for.
		delete(c.active, c.kept[pid])
		c.kept[pid].close()
	}
	c.kept[pid] = conn
}

// takeKept is the connection that was kept for a wait; nil if there is none.
func (c *controlClient) takeKept(pid int) *controlConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	conn := c.kept[pid]
	delete(c.kept, pid)
	return conn
}

// A controlCall is one request and the bounds of its answer.
type controlCall struct {
	method string
	arg    any
	files  []*os.File
	limit  int
	// over is a connection from an earlier call to use; nil for a new one.
	over *controlConn
}

// do makes a call and waits for its answer until deadline, or for ever if that
// is zero, or until ctx ends. The call goes on in the sandbox when the wait
// for it ends: the protocol has no cancellation.
func (c *controlClient) do(ctx context.Context, k controlCall, deadline time.Time) (json.RawMessage, error) {
	conn, err := c.request(ctx, k, deadline)
	if err != nil {
		return nil, err
	}
	return c.answer(ctx, conn, k, deadline)
}

// request sends a call. An error means that nothing was done.
func (c *controlClient) request(ctx context.Context, k controlCall, deadline time.Time) (*controlConn, error) {
	connectBy := deadline
	if connectBy.IsZero() {
		connectBy = c.deadline(ctx)
	}
	// The sandbox may have left an older connection, as it does when it is
	// restored; then a new one is as good.
	if k.over != nil && c.send(ctx, k.over, k, connectBy) == nil {
		return k.over, nil
	}
	conn, err := c.connect(ctx, connectBy)
	if err != nil {
		return nil, err
	}
	return conn, c.send(ctx, conn, k, connectBy)
}

// send sends a call on conn, and ends conn where that fails.
func (c *controlClient) send(ctx context.Context, conn *controlConn, k controlCall, deadline time.Time) error {
	err := c.bounded(ctx, conn, deadline, func() error { return conn.send(k.method, k.arg, k.files) })
	if err != nil {
		c.disconnect(conn)
	}
	return err
}

// answer reads the answer to the call that was sent on conn, and ends conn.
func (c *controlClient) answer(ctx context.Context, conn *controlConn, k controlCall, deadline time.Time) (json.RawMessage, error) {
	result, err := c.receive(ctx, conn, k, deadline)
	c.disconnect(conn)
	return result, err
}

// receive reads the answer to the call that was sent on conn.
func (c *controlClient) receive(ctx context.Context, conn *controlConn, k controlCall, deadline time.Time) (result json.RawMessage, err error) {
	var refused *refusal
	err = c.bounded(ctx, conn, deadline, func() error {
		result, refused, err = conn.receive(k.limit)
		return err
	})
	if err != nil {
		return nil, err
	}
	if refused != nil {
		refused.method = k.method
		return nil, refused
	}
	return result, nil
}

// bounded runs an exchange on conn that ends at deadline, or never if that is
// zero, or when ctx ends, or when the client is closed, with the error of
// whichever it was.
func (c *controlClient) bounded(ctx context.Context, conn *controlConn, deadline time.Time, exchange func() error) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	conn.unix.SetDeadline(deadline)
	late := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		conn.unix.SetDeadline(time.Unix(1, 0))
		close(late)
	})
	err := exchange()
	if !stop() {
		// Later it would end the next exchange on conn.
		<-late
	}
	if err == nil {
		return nil
	}
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	switch {
	case closed:
		return errClientClosed
	case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return context.DeadlineExceeded
	}
	return err
}

// deadline is that of a short call.
func (c *controlClient) deadline(ctx context.Context) time.Time {
	d := time.Now().Add(c.options.Timeout)
	if own, ok := ctx.Deadline(); ok && own.Before(d) {
		return own
	}
	return d
}

// A cachedRecord is a container's record and what its file looked like then.
type cachedRecord struct {
	path   string
	info   fs.FileInfo
	record *containerRecord
}

// record is what runsc wrote about a container, read anew if the file changed.
func (c *controlClient) record(op string, id messages.ContainerID) (*containerRecord, error) {
	c.mu.Lock()
	cached := c.records[id]
	c.mu.Unlock()
	if cached != nil {
		now, err := os.Stat(cached.path)
		if err == nil && os.SameFile(now, cached.info) && now.ModTime().Equal(cached.info.ModTime()) && now.Size() == cached.info.Size() {
			return cached.record, nil
		}
	}
	fresh, err := loadRecord(c.root, id)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		delete(c.records, id)
		return nil, recordError(op, id, err)
	}
	c.records[id] = fresh
	return fresh.record, nil
}

// isRunning tells whether a container is neither paused nor only created, as far
// as runsc has written that down.
func (c *controlClient) isRunning(id messages.ContainerID) bool {
	record, err := c.record("look at", id)
	return err == nil && record.Status == "running"
}

// forget drops what is kept of a container that was deleted.
func (c *controlClient) forget(id messages.ContainerID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.records, id)
}

func loadRecord(root string, id messages.ContainerID) (*cachedRecord, error) {
	path, err := findRecord(root, string(id))
	if err != nil {
		return nil, err
	}
	record, info, err := readRecord(path)
	if err != nil {
		return nil, err
	}
	if record.ID != string(id) {
		return nil, fmt.Errorf("read %s: it is of container %q", path, record.ID)
	}
	return &cachedRecord{path: path, info: info, record: record}, nil
}
