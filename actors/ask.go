package actors

import (
	"context"
	"errors"
	"log/slog"

	"github.com/troupe-run/troupe/actors/lifecycle"
	"github.com/troupe-run/troupe/messages"
)

// Ask sends a command and waits for its reply. It blocks until then, or until
// ctx ends, whichever is first.
//
// A command whose ctx has ended before it is taken up is not carried out. One
// that has been taken up goes on when ctx ends: Ask returns DeadlineExceeded or
// Canceled, and nothing is kept for the asker.
//
// Every error is a *messages.Error.
func Ask[R messages.Reply](ctx context.Context, rt *Runtime, cmd messages.Command[R]) (R, error) {
	req, err := rt.send(ctx, cmd)
	return typed[R](rt, req, err)
}

// Begin sends a command and returns how to wait for its reply. Commands that one
// goroutine begins are taken up in that order. The returned function must be
// called, once; it has the promises of [Ask].
func Begin[R messages.Reply](ctx context.Context, rt *Runtime, cmd messages.Command[R]) (wait func() (R, error)) {
	req, err := rt.send(ctx, cmd)
	return func() (R, error) { return typed[R](rt, req, err) }
}

// typed waits for the reply to a request that was sent, or tells why it was not.
func typed[R messages.Reply](rt *Runtime, req *request, err error) (R, error) {
	var none R
	if err != nil {
		return none, err
	}
	answer, err := rt.await(req)
	if err != nil {
		return none, err
	}
	return answer.(R), nil
}

// request is a command on its way, and the asker that waits for its reply.
type request struct {
	ctx context.Context
	cmd messages.AnyCommand
	// reply has room for the one answer, so that giving it never blocks.
	reply chan lifecycle.Reply
}

func newRequest() any { return &request{reply: make(chan lifecycle.Reply, 1)} }

// LogValue keeps what is in the command out of logs: the library prints whole
// messages that can not be delivered.
func (r *request) LogValue() slog.Value {
	return slog.StringValue(r.cmd.Verb() + " " + r.cmd.Target().String())
}

// send hands a command to the directory.
func (rt *Runtime) send(ctx context.Context, cmd messages.AnyCommand) (*request, error) {
	if err := cmd.Validate(); err != nil {
		return nil, err
	}
	select {
	case rt.admission <- struct{}{}:
	default:
		return nil, refusal(cmd, messages.ResourceExhausted, messages.Text("too many commands are under way"), "try again later")
	}
	req := rt.requests.Get().(*request)
	req.ctx, req.cmd = ctx, cmd
	rt.system.Root.Send(rt.directory, req)
	return req, nil
}

// await waits for the answer to a request that was sent.
func (rt *Runtime) await(req *request) (messages.Reply, error) {
	defer func() { <-rt.admission }()
	select {
	case r := <-req.reply:
		// Answered once and for all, so that nothing refers to it any more.
		// One that is abandoned may still be in a mailbox and is left alone.
		req.ctx, req.cmd = nil, nil
		rt.requests.Put(req)
		return r.Reply, r.Err
	case <-req.ctx.Done():
		rt.system.Root.Send(rt.directory, lifecycle.Abandon{Asker: req, Process: req.cmd.Target()})
		return nil, expired(req.cmd, req.ctx.Err())
	case <-rt.ended:
		// The answer to Shutdown itself may be there already.
		select {
		case r := <-req.reply:
			return r.Reply, r.Err
		default:
			return nil, refusal(req.cmd, messages.Unavailable, messages.Text("the runtime has ended"), "start a new one")
		}
	}
}

func refusal(cmd messages.AnyCommand, kind, err error, hint string) error {
	return &messages.Error{Kind: kind, Op: cmd.Verb(), Process: cmd.Target(), Err: err, Hint: hint}
}

// expired is the error of a command whose asker no longer waits.
func expired(cmd messages.AnyCommand, err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return refusal(cmd, messages.DeadlineExceeded, messages.Text("there was no answer in time"), "state tells where it stands")
	}
	return refusal(cmd, messages.Canceled, messages.Text("the asker gave up"), "")
}
