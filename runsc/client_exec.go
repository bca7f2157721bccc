package runsc

import (
	"context"
	"encoding/json"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/messages"
)

// Exec runs a process in a container.
//
// Without Detach it returns when the process has exited, with its status as
// [Client.Wait] tells it; IO's streams are those of the process, a terminal
// included. With Detach it returns when the process is started, with 0, and the
// runsc that stands for it lives on: it is an orphan whose pid is in PidFile.
//
// The process's spec reaches runsc through memory: its environment is never on a
// disk.
func (c *Client) Exec(ctx context.Context, id string, spec specs.Process, o *ExecOpts) (int, error) {
	if o == nil {
		o = &ExecOpts{}
	}
	call, spool, err := c.execCall(id, spec, o)
	if err != nil {
		return 0, err
	}
	defer spool.Close()
	out, err := call.run(ctx)
	if err != nil && call.isGuestStatus(out) {
		return out.end.status(), nil
	}
	return 0, err
}

// execCall also returns the file of the spec, to be closed after the start.
func (c *Client) execCall(id string, spec specs.Process, o *ExecOpts) (*call, *os.File, error) {
	b, err := json.Marshal(spec)
	if err != nil {
		return nil, nil, &messages.Error{Kind: messages.InvalidArgument, Op: "write the process of an exec in", Process: messages.Init(messages.ContainerID(id)), Err: err}
	}
	spool, err := memoryFile("process spec", b)
	if err != nil {
		return nil, nil, startError("exec in", messages.Init(messages.ContainerID(id)), c.options.Path, err)
	}
	return &call{client: c, container: id, verb: "exec", io: o.IO, endless: !o.Detach,
		args: append([]string{"--process=" + pathOf(spool)}, o.args()...)}, spool, nil
}

// isGuestStatus tells whether an attached exec ended with the status of its
// process, and not with an error of runsc: that one it logs.
func (c *call) isGuestStatus(out outcome) bool {
	return c.endless && out.end.signal == 0 && out.end.unknown == nil && len(parseLog(out.log)) == 0
}
