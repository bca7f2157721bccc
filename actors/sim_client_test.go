package actors

import (
	"context"
	"fmt"

	"github.com/troupe-run/troupe/actors/lifecycle"
	"github.com/troupe-run/troupe/messages"
)

// simAsk is a command of a client.
type simAsk struct {
	item *simItem
	req  *request
	ctx  *simContext
	sent bool
	// answered: the reply came. gone: the asker gave up. forgotten: every actor
	// that could know of the asker has been told so.
	answered, gone, forgotten bool
	reply                     lifecycle.Reply
	weight                    int
}

func (s *sim) send(a *simAsk) {
	a.sent = true
	a.ctx = new(simContext)
	a.req = &request{ctx: a.ctx, cmd: a.item.cmd, reply: make(chan lifecycle.Reply, 2)}
	if s.trace != nil {
		fmt.Fprintf(s.trace, "%s   # client %d\n", simDirective(a.item.cmd), a.item.client)
	}
	if err := a.item.cmd.Validate(); err != nil {
		panic(err)
	}
	s.rt.system.Root.Send(s.rt.directory, a.req)
}

func (s *sim) abandon(a *simAsk) {
	a.gone, a.ctx.err = true, context.Canceled
	s.note("client %d gives up: %s", a.item.client, simDirective(a.item.cmd))
	s.rt.system.Root.Send(s.rt.directory, lifecycle.Abandon{Asker: a.req, Process: a.item.cmd.Target()})
}

// poll takes the replies that have come.
func (s *sim) poll() {
	for _, a := range s.asks {
		if a == nil || a.req == nil || len(a.req.reply) == 0 {
			continue
		}
		r := <-a.req.reply
		if a.answered {
			s.fail("once", "%s was answered twice", simDirective(a.item.cmd))
		}
		a.answered, a.reply = true, r
		if s.trace != nil {
			fmt.Fprintf(s.trace, "%s   # to %s\n", simReply(r), simDirective(a.item.cmd))
		}
		s.witness.replied(a)
	}
}

// ask is a command of the end, which nothing disturbs. It returns when nothing
// goes on any more.
func (s *sim) ask(cmd messages.AnyCommand) *simAsk {
	a := &simAsk{item: &simItem{kind: simAskItem, cmd: cmd, after: -1}, weight: 1}
	s.asks = append(s.asks, a)
	for s.broken == nil && s.step() {
	}
	return a
}
