package lifecycle

import "github.com/troupe-run/troupe/messages"

// step runs an input through a machine as an actor does. A machine whose step
// panics is told so, and then what the host or another actor told is taken once
// more; a command is refused. Two panics in a row, and the actor is lost.
func (w *world) step(n *node, in Input) {
	if n.lost {
		w.drop(n, in)
		return
	}
	if n.panics == 0 {
		w.apply(n, in)
		return
	}
	n.panics--
	w.note("%s panics", n.name)
	if n.panics > 1 { // over that, too
		n.panics = 0
		w.drop(n, in)
		w.lose(n)
		return
	}
	w.apply(n, Crash{Reason: "a panic of the test", Input: in})
	if _, isCommand := in.(Command); isCommand {
		w.refuse(in)
		return
	}
	if n.panics == 0 {
		w.apply(n, in)
		return
	}
	n.panics--
	w.drop(n, in)
	w.lose(n)
}

// drop gives up an input that no machine takes. Nobody is there any more for
// what a call has made.
func (w *world) drop(n *node, in Input) {
	w.refuse(in)
	switch in := in.(type) {
	case Answer:
		if in.Err == nil {
			w.host.jobs = append(w.host.jobs, job{target: n.self, release: true})
		}
	case Deleted:
		for _, r := range in.Replies {
			w.answer(r)
		}
	}
}

// lose gives up the actor of a process or container. Its children are ended
// before its parent is told.
func (w *world) lose(n *node) {
	if n.self.Number == 0 {
		return
	}
	w.note("%s is lost", n.name)
	n.lost = true
	switch m := n.state.(type) {
	case Process:
		w.refuseAll(m.Askers())
	case Container:
		w.refuseAll(m.Askers())
	}
	w.orders.lost(n)
	for _, id := range sortedKeys(n.children) {
		child := n.children[id]
		w.send(w.reaper, toDisown{child.self})
		for _, last := range []any{Doom{Reason: "its container is lost"}, Expire{At: w.now}, Crash{Reason: "its container is lost"}, toEnd{}} {
			w.send(child, last)
		}
	}
	w.tellLost(n)
}

func (w *world) refuseAll(commands []Command) {
	for _, c := range commands {
		w.refuse(c)
	}
}

// tellLost tells the parent of an actor that is lost and has no child left.
func (w *world) tellLost(n *node) {
	if n.lost && len(n.children) == 0 {
		w.send(n.parent, Lost{Process: n.self, At: w.now})
	}
}

// refuse answers a command that its actor could not take.
func (w *world) refuse(in Input) {
	if c, ok := in.(Command); ok && c.Asker != nil {
		w.answer(Reply{To: c.Asker, Err: &messages.Error{Kind: messages.Internal, Op: c.Cmd.Verb(), Process: c.Cmd.Target(), Err: messages.Text("a panic of the test")}})
	}
}
