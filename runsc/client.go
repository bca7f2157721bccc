package runsc

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"

	runc "github.com/containerd/go-runc"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/messages"
)

// Client is the runsc command line. Its methods may be called at the same time.
//
// Every error is a *messages.Error: NotFound for an unknown container or
// process, AlreadyExists for an id that is taken, FailedPrecondition for a
// container in another state, Unavailable if there is no runsc to run,
// DeadlineExceeded and Canceled when the context ended the call. The runsc of a
// call that its context ends is killed with its process group and waited for.
type Client struct {
	options Options
}

// NewClient checks the options. It does not look for runsc yet: each call does.
func NewClient(o Options) (*Client, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	return &Client{options: o}, nil
}

// Create makes a container of a bundle, and a sandbox for it unless the bundle's
// annotations name one. The sandbox keeps IO's streams until it ends.
func (c *Client) Create(ctx context.Context, id, bundle string, o *CreateOpts) error {
	_, err := c.createCall(id, bundle, o).run(ctx)
	return err
}

func (c *Client) createCall(id, bundle string, o *CreateOpts) *call {
	if o == nil {
		o = &CreateOpts{}
	}
	return &call{client: c, container: id, verb: "create", args: append([]string{"--bundle=" + bundle}, o.args()...), io: o.IO}
}

// Start starts a created container. A container of a pod takes its streams from
// io; another has them since Create, and io is nil.
func (c *Client) Start(ctx context.Context, id string, io runc.IO) error {
	_, err := (&call{client: c, container: id, verb: "start", io: io}).run(ctx)
	return err
}

// Restore starts a created container from a checkpoint. The error is nil once it
// runs with Detach, and when it has exited without.
func (c *Client) Restore(ctx context.Context, id string, o *RestoreOpts) error {
	_, err := (&call{client: c, container: id, verb: "restore", args: o.args(), io: o.IO, endless: !o.Detach}).run(ctx)
	return err
}

// Checkpoint writes the state of a container's sandbox.
func (c *Client) Checkpoint(ctx context.Context, id string, o *CheckpointOpts) error {
	_, err := (&call{client: c, container: id, verb: "checkpoint", args: o.args(), capture: true}).run(ctx)
	return err
}

// Kill sends a signal.
func (c *Client) Kill(ctx context.Context, id string, signal int, o *KillOpts) error {
	if o == nil {
		o = &KillOpts{}
	}
	_, err := (&call{client: c, verb: "kill", args: append(o.args(), id, strconv.Itoa(signal)), capture: true, subject: id}).run(ctx)
	return err
}

// Delete releases a container.
func (c *Client) Delete(ctx context.Context, id string, o *DeleteOpts) error {
	if o == nil {
		o = &DeleteOpts{}
	}
	_, err := (&call{client: c, container: id, verb: "delete", args: o.args(), capture: true}).run(ctx)
	return err
}

// State tells a container's OCI state (runtime-spec, runtime.md). A sandbox that
// is dead and not reaped is "running" there.
func (c *Client) State(ctx context.Context, id string) (specs.State, error) {
	return ask[specs.State](ctx, c, id, "state")
}

// Stats tells what a container uses.
func (c *Client) Stats(ctx context.Context, id string) (messages.Usage, error) {
	e, err := ask[event](ctx, c, id, "events", "--stats")
	if err != nil {
		return messages.Usage{}, err
	}
	d := e.Data
	return messages.Usage{
		CPU: messages.CPUUsage{Total: d.CPU.Usage.Total, User: d.CPU.Usage.User, System: d.CPU.Usage.Kernel},
		Memory: messages.MemoryUsage{
			Current: d.Memory.Usage.Usage, Max: d.Memory.Usage.Max,
			Limit: d.Memory.Usage.Limit, Cache: d.Memory.Cache,
		},
		PIDs: messages.PIDUsage{Current: d.PIDs.Current, Limit: d.PIDs.Limit},
	}, nil
}

// Ps tells the pids of a container's processes in the sandbox's root pid
// namespace.
func (c *Client) Ps(ctx context.Context, id string) ([]int, error) {
	return ask[[]int](ctx, c, id, "ps", "--format=json")
}

// Pause freezes a container. In gVisor that is its whole sandbox.
func (c *Client) Pause(ctx context.Context, id string) error {
	_, err := (&call{client: c, container: id, verb: "pause", capture: true}).run(ctx)
	return err
}

// Resume ends a pause.
func (c *Client) Resume(ctx context.Context, id string) error {
	_, err := (&call{client: c, container: id, verb: "resume", capture: true}).run(ctx)
	return err
}

// Update changes a container's limits. runsc crashes if the container's
// config.json has no linux.resources (runsc/cmd/update.go).
func (c *Client) Update(ctx context.Context, id string, r *messages.Resources) error {
	b, err := json.Marshal(r)
	if err != nil {
		return &messages.Error{Kind: messages.InvalidArgument, Op: "write the resources of", Process: messages.Init(messages.ContainerID(id)), Err: err}
	}
	_, err = (&call{client: c, container: id, verb: "update", args: []string{"--resources=-"}, stdin: b, capture: true}).run(ctx)
	return err
}

// Wait waits for a container's init, or for one process, and tells its status:
// 0 to 255, or 128 + the signal's number. Where a process runs that is no init,
// only the first who waits gets its true status (runsc/boot/loader.go). A root
// container whose sandbox is gone can not be waited for.
func (c *Client) Wait(ctx context.Context, id string, o *WaitOpts) (int, error) {
	if o == nil {
		o = &WaitOpts{}
	}
	out, err := (&call{client: c, container: id, verb: "wait", args: o.args(), endless: true, capture: true}).run(ctx)
	if err != nil {
		return 0, err
	}
	r, err := decode[struct {
		ExitStatus int `json:"exitStatus"`
	}](id, "wait", out.stdout)
	return r.ExitStatus, err
}

// Version is what runsc says of itself, on one line. A runsc that was built by
// `go install` says VERSION_MISSING.
func (c *Client) Version(ctx context.Context) (string, error) {
	out, err := (&call{client: c, verb: "--version", capture: true}).run(ctx)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(out.stdout), "\n")
	version, ok := strings.CutPrefix(line, "runsc version ")
	if !ok {
		return "", &messages.Error{Kind: messages.Unavailable, Op: "ask runsc for its version", Err: messages.Text(cut("it said " + strconv.Quote(line))),
			Hint: c.options.Path + " is no runsc"}
	}
	return strings.TrimSpace(version), nil
}

// event is what `runsc events` prints (runsc/boot/events.go).
type event struct {
	Data struct {
		CPU struct {
			Usage struct{ Kernel, User, Total uint64 }
		}
		Memory struct {
			Cache uint64
			Usage struct{ Limit, Usage, Max uint64 }
		}
		PIDs struct{ Current, Limit uint64 } `json:"pids"`
	}
}

// ask runs a command that answers with one JSON value.
func ask[T any](ctx context.Context, c *Client, id, verb string, args ...string) (T, error) {
	out, err := (&call{client: c, container: id, verb: verb, args: args, capture: true}).run(ctx)
	if err != nil {
		var none T
		return none, err
	}
	return decode[T](id, verb, out.stdout)
}

func decode[T any](id, verb string, stdout []byte) (T, error) {
	var v T
	if err := json.Unmarshal(stdout, &v); err != nil {
		return v, &messages.Error{Kind: messages.Internal, Op: "read the answer of runsc " + verb, Process: messages.Init(messages.ContainerID(id)),
			Err: errors.Join(err, messages.Text(cut(string(stdout))))}
	}
	return v, nil
}

// keepLog appends a call's records to the log that the options name.
func (c *Client) keepLog(log []byte) {
	if c.options.Log == "" || len(log) == 0 {
		return
	}
	f, err := os.OpenFile(c.options.Log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		c.options.Logger.Warn("keep runsc's log", "file", c.options.Log, "error", err)
		return
	}
	defer f.Close()
	// runsc puts nothing between its records; one write keeps a line whole beside
	// those of other calls (O_APPEND, open(2)).
	var lines []byte
	for d := json.NewDecoder(strings.NewReader(string(log))); d.More(); {
		var r json.RawMessage
		if d.Decode(&r) != nil {
			break
		}
		lines = append(append(lines, r...), '\n')
	}
	if _, err := f.Write(lines); err != nil {
		c.options.Logger.Warn("keep runsc's log", "file", c.options.Log, "error", err)
	}
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
