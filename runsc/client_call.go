package runsc

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	runc "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
)

// maxOutput bounds what is kept of the output of one call, in bytes.
const maxOutput = 8 << 20

// call is one run of runsc.
type call struct {
	client    *Client
	container string
	verb      string
	args      []string
	io        runc.IO
	stdin     []byte
	// endless calls last as long as their process: they get no deadline.
	endless bool
	// capture keeps what runsc prints. Not for calls that leave a process behind,
	// which would hold the pipe.
	capture bool
	// subject is the container where it does not come last.
	subject string
	// token marks what the call starts, by its environment.
	token string
}

// outcome is how a call went.
type outcome struct {
	end            exitCode
	stdout, stderr []byte
	log            []byte
}

func (c *call) op() string { return "runsc " + c.verb }

func (c *call) process() messages.Process {
	return messages.Init(messages.ContainerID(c.container + c.subject))
}

// run runs runsc and waits for its end. Its error is that of a call that failed
// in any way.
func (c *call) run(ctx context.Context) (outcome, error) {
	out, log, err := c.runKeepingLog(ctx)
	if log != nil {
		_ = log.Close()
	}
	return out, err
}

// runKeepingLog is run, for a call that leaves a process behind which goes on
// writing to the log. The log is nil if runsc could not be started.
func (c *call) runKeepingLog(ctx context.Context) (outcome, *os.File, error) {
	if _, bounded := ctx.Deadline(); !bounded && !c.endless {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.client.options.CallTimeout)
		defer cancel()
	}
	if err := context.Cause(ctx); err != nil {
		return outcome{}, nil, endError(c.op(), c.process(), err)
	}
	running, err := c.start()
	if err != nil {
		return outcome{}, nil, err
	}
	if err := running.child.wait(ctx); err != nil {
		return running.outcome(), running.log, endError(c.op(), c.process(), err)
	}
	out := running.outcome()
	return out, running.log, c.failure(out)
}

// failure is the error of a call that ended, nil if it succeeded.
func (c *call) failure(out outcome) error {
	if out.end == (exitCode{}) {
		return nil
	}
	text := errorText(out.log, out.stderr)
	if text == "" {
		text = fmt.Sprintf("exit status %d and no reason", out.end.status())
	}
	if out.end.unknown != nil {
		text = "its exit status is lost: " + out.end.unknown.Error()
	}
	hint, kind := kindOf(text)
	if out.end.signal != 0 {
		kind, hint = messages.Internal, "see the kernel's log for who killed it"
		text = fmt.Sprintf("runsc died by signal %d (%s)", int(out.end.signal), out.end.signal)
	}
	return &messages.Error{Kind: kind, Op: c.op(), Process: c.process(), Err: messages.Text(text), Hint: hint}
}

// running is a call that is under way.
type running struct {
	call           *call
	child          *child
	log            *os.File
	stdout, stderr *capture
}

// start starts runsc and returns when it runs.
func (c *call) start(prepare ...func(*exec.Cmd)) (*running, error) {
	path, err := exec.LookPath(c.client.options.Path)
	if err != nil {
		return nil, startError(c.op(), c.process(), c.client.options.Path, err)
	}
	log, err := memoryFile("runsc log", nil)
	if err != nil {
		return nil, startError(c.op(), c.process(), path, err)
	}
	args := append(c.client.options.globalArgs(pathOf(log)), c.verb)
	args = append(args, c.args...)
	if c.container != "" {
		args = append(args, c.container)
	}
	r := &running{call: c, log: log}
	cmd := exec.Command(path, args...)
	// go-runc drops it for the same reason: it is the embedder's own.
	cmd.Env = withoutEnv(os.Environ(), "NOTIFY_SOCKET")
	if c.token != "" {
		cmd.Env = append(cmd.Env, tokenName+"="+c.token)
	}
	if c.stdin != nil {
		cmd.Stdin = bytes.NewReader(c.stdin)
	}
	switch {
	case c.io != nil:
		c.io.Set(cmd)
	case c.capture:
		r.stdout, r.stderr = &capture{}, &capture{}
		cmd.Stdout, cmd.Stderr = r.stdout, r.stderr
	}
	for _, p := range prepare {
		p(cmd)
	}
	r.child, err = startChild(cmd)
	if err != nil {
		_ = log.Close()
		return nil, startError(c.op(), c.process(), path, err)
	}
	if s, ok := c.io.(runc.StartCloser); ok {
		if err := s.CloseAfterStart(); err != nil {
			c.client.options.Logger.Warn("close the child's side of its streams", "container", c.container, "error", err)
		}
	}
	return r, nil
}

// outcome is for a call whose child is gone.
func (r *running) outcome() outcome {
	out := outcome{end: r.child.end, log: readMemory(r.log)}
	if r.stdout != nil {
		out.stdout, out.stderr = r.stdout.bytes(), r.stderr.bytes()
	}
	r.call.client.keepLog(out.log)
	return out
}

// memoryFile is a file without a place on any disk: runsc's log survives a full
// disk, a process's environment is never written to one, and nothing is left
// behind whatever happens to us (memfd_create(2)).
func memoryFile(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(content); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// pathOf is a path by which a child, and a child of a child, can open f while it
// is open here.
func pathOf(f *os.File) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()) }

// readMemory reads a memory file from its start, whatever its offset.
func readMemory(f *os.File) []byte {
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	b := make([]byte, min(info.Size(), maxOutput))
	n, _ := f.ReadAt(b, 0)
	return b[:n]
}

func withoutEnv(env []string, name string) []string {
	out := make([]string, 0, len(env)+1)
	for _, e := range env {
		if !strings.HasPrefix(e, name+"=") {
			out = append(out, e)
		}
	}
	return out
}
