package play

import (
	"context"
	"slices"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/messages"
)

// stage is what a running script knows. It is used by the goroutine of Run
// alone.
type stage struct {
	options Options
	events  *actors.Subscription
	// records of the processes that the script made and has not deleted, and
	// the order in which it made them.
	records map[messages.Process]*record
	order   []messages.Process
	// deleted are the records of those that it did delete, for their output.
	deleted map[messages.Process]*record
}

// record is one process that the script made.
type record struct {
	stdin          *feed
	stdout, stderr *capture
	cleanup        func()
	// started, exited and deleted say what the script was told.
	started, exited, deleted bool
}

func newRecord(terminal bool) *record {
	r := &record{stdin: newFeed(), stdout: newCapture(), cleanup: func() {}}
	if !terminal {
		r.stderr = newCapture()
	}
	return r
}

// stdio are the record's streams for the runtime.
func (r *record) stdio(terminal bool) messages.Stdio {
	s := messages.Stdio{Terminal: terminal}
	s.Pipes.Stdin, s.Pipes.Stdout = r.stdin, r.stdout
	if r.stderr != nil {
		s.Pipes.Stderr = r.stderr
	}
	return s
}

func (r *record) close() {
	r.release()
	r.stdout.close()
	if r.stderr != nil {
		r.stderr.close()
	}
}

// release gives back what a deleted process has no more use for.
func (r *record) release() {
	if !r.deleted {
		r.deleted = true
		r.stdin.close()
		r.cleanup()
	}
}

func (s *stage) add(p messages.Process, r *record) {
	s.records[p] = r
	s.order = append(s.order, p)
}

// forget drops a deleted process; with an init its execs too, which the runtime
// releases with it. Their outputs are kept until their names are used again.
func (s *stage) forget(p messages.Process) {
	s.order = slices.DeleteFunc(s.order, func(q messages.Process) bool {
		gone := q == p || (p.IsInit() && q.Container == p.Container)
		if gone {
			if old := s.deleted[q]; old != nil {
				old.close()
			}
			s.records[q].release()
			s.deleted[q] = s.records[q]
			delete(s.records, q)
		}
		return gone
	})
}

// close ends what the script kept.
func (s *stage) close() {
	for _, r := range s.records {
		r.close()
	}
	for _, r := range s.deleted {
		r.close()
	}
	s.events.Close()
}

// exited notes that the script was told of the exit of p.
func (s *stage) exited(p messages.Process) {
	if r := s.records[p]; r != nil {
		r.exited = true
	}
}

// asked is a command on its way: await gives its output.
type asked func() string

// ask sends a command and prints its reply with done, on the goroutine of Run.
func ask[R messages.Reply](ctx context.Context, s *stage, cmd messages.Command[R], done func(R) string) asked {
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	wait := actors.Begin(ctx, s.options.Runtime, cmd)
	return func() string {
		defer cancel()
		reply, err := wait()
		if err != nil {
			return errorText(err)
		}
		return done(reply)
	}
}

// told is an output that is known already.
func told(text string) asked { return func() string { return text } }
