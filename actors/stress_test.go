package actors_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/actors/fake"
	"github.com/troupe-run/troupe/actors/lifecycle"
	"github.com/troupe-run/troupe/messages"
)

// asker sends random commands for the processes of a pod and of a container of
// its own sandbox.
type asker struct {
	*bed
	dice *rand.Rand
	// panics: actors panic now and then.
	panics bool
}

// once sends one command or a few. Every Ask has to return: what it returns is
// up to the commands of the others.
func (a asker) once() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+a.dice.IntN(3000))*time.Millisecond)
	defer cancel()
	container := []string{"root", "a", "b", "own"}[a.dice.IntN(4)]
	exec := fmt.Sprintf("%s/%d", container, a.dice.IntN(6))
	either := []string{container, exec, exec}[a.dice.IntN(3)]
	id := messages.ContainerID(container)
	signal := []syscall.Signal{syscall.SIGURG, syscall.SIGTERM, syscall.SIGKILL}[a.dice.IntN(3)]
	if either == container && a.dice.IntN(10) > 0 {
		signal = syscall.SIGURG // so that containers live for a while
	}
	switch a.dice.IntN(40) {
	case 0, 1: // a container anew, for as far as the others let it be
		answered(a, ctx, killOf(container, syscall.SIGKILL))
		answered(a, ctx, waitOf(container))
		answered(a, ctx, deleteOf(container))
		fallthrough
	case 2, 3:
		create := messages.Create{Container: id, Sandbox: "pod", Bundle: noBundle}
		if container == "own" {
			create.Sandbox = ""
		}
		answered(a, ctx, create)
		answered(a, ctx, startOf(container))
	case 4, 5, 6:
		answered(a, ctx, startOf(either))
	case 7, 8, 9:
		answered(a, ctx, killOf(either, signal))
	case 10, 11:
		answered(a, ctx, waitOf(either))
	case 12, 13, 14:
		answered(a, ctx, deleteOf(either))
	case 15:
		answered(a, ctx, messages.Resize{Process: process(either)})
		answered(a, ctx, messages.CloseIO{Process: process(either)})
	case 16:
		answered(a, ctx, messages.Pause{Container: id})
		answered(a, ctx, messages.Resume{Container: id})
	case 17:
		answered(a, ctx, messages.Stats{Container: id})
		answered(a, ctx, messages.Checkpoint{Container: id, ImagePath: "/image", LeaveRunning: a.dice.IntN(10) > 0})
	case 18:
		answered(a, ctx, stateOf(either))
		answered(a, ctx, messages.Pids{Container: id})
		answered(a, ctx, messages.Info{})
	case 19:
		if a.dice.IntN(20) == 0 {
			a.driver.KillSentry(id)
		}
	default: // a whole exec, for as far as the others let it be
		command := []string{"true", "exit 3", "sleep 0.01", "sleep 1", "sleep inf", "no-such-command"}[a.dice.IntN(6)]
		answered(a, ctx, execOf(exec, command))
		answered(a, ctx, startOf(exec))
		if a.dice.IntN(2) == 0 {
			answered(a, ctx, killOf(exec, signal))
		}
		answered(a, ctx, waitOf(exec))
		answered(a, ctx, deleteOf(exec))
	}
}

// answered asks, and checks that an error is a typed one, and no defect.
func answered[R messages.Reply](a asker, ctx context.Context, cmd messages.Command[R]) {
	_, err := actors.Ask(ctx, a.rt, cmd)
	var typed *messages.Error
	if err == nil || errors.As(err, &typed) && (messages.KindOf(err) != messages.Internal || a.planned(err)) {
		return
	}
	a.Errorf("%s %s: %T %v", cmd.Verb(), cmd.Target(), err, err)
}

// planned tells whether an error comes of the test's own faults.
func (a asker) planned(err error) bool {
	text := err.Error()
	return errors.Is(err, errPlanned) || a.panics &&
		(strings.Contains(text, "panic in the actor of") || strings.Contains(text, "actor failed") ||
			strings.Contains(text, "actor of its container failed"))
}

const errPlanned = messages.Text("a fault that the test has planned")

// faults makes some calls fail, some hang until their deadline, some return too
// late, and some slow. What a call has made is never reported as failed: that
// is the driver's promise.
func faults(seed uint64) (before, after fake.Hook) {
	roll := func(call string, p messages.Incarnation, salt uint64) *rand.Rand {
		return rand.New(rand.NewPCG(seed+salt, p.Number*31+uint64(len(call))))
	}
	before = func(ctx context.Context, call string, p messages.Incarnation) error {
		dice := roll(call, p, 1)
		switch dice.IntN(20) {
		case 0:
			return &messages.Error{Kind: messages.Internal, Op: call, Process: p.Process, Err: errPlanned}
		case 1:
			if call != "kill sandbox" { // the last resort: it asks nobody
				return hang(ctx, p)
			}
		case 2, 3, 4:
			time.Sleep(time.Duration(dice.IntN(200)) * time.Millisecond)
		}
		return nil
	}
	after = func(_ context.Context, call string, p messages.Incarnation) error {
		dice := roll(call, p, 2)
		switch dice.IntN(20) {
		case 0: // later than anybody waits
			time.Sleep(time.Duration(dice.IntN(20)) * time.Second)
		case 1, 2, 3:
			time.Sleep(time.Duration(dice.IntN(200)) * time.Millisecond)
		}
		return nil
	}
	return before, after
}

// Many goroutines send what they like, in real parallel and fake time, to a
// host with faults; then everything is shut down. Every Ask returns, the seven
// orders hold, nothing is left.
func TestRandomCommandsAndFaultsKeepEveryOrder(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { stress(t, actors.Options{}, seed, nil) })
	}
}

// The same with actors that panic at one step in two hundred, whatever it is.
func TestRandomPanicsKeepEveryOrder(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			p := &panics{seed: seed}
			stress(t, actors.Options{}.WithFault(p.step), seed, p)
		})
	}
}

// panics makes steps panic. A sandbox or the directory that panics twice in a
// row loses what it was told, since nobody stands in for it; so they do not.
type panics struct {
	seed         uint64
	steps, count atomic.Uint64
	over         atomic.Bool
	last         sync.Map // of a supervisor: the input that it panicked at
}

func (p *panics) step(name string, in lifecycle.Input) {
	n := p.steps.Add(1)
	if p.over.Load() || rand.New(rand.NewPCG(p.seed, n)).IntN(200) > 0 {
		return
	}
	if supervisor := !strings.Contains(name, "#"); supervisor {
		_, isCrash := in.(lifecycle.Crash)
		if before, _ := p.last.Swap(name, fmt.Sprintf("%#v", in)); isCrash || before == fmt.Sprintf("%#v", in) {
			return
		}
	}
	p.count.Add(1)
	panic("as the test wants it")
}

func stress(t *testing.T, o actors.Options, seed uint64, p *panics) {
	o.Timeouts = actors.Timeouts{
		Create: 2 * time.Second, Start: 2 * time.Second, Exec: time.Second, Kill: time.Second,
		Delete: time.Second, Checkpoint: time.Second, Call: time.Second, Drain: 2 * time.Second,
	}
	run(t, o, func(b *bed) {
		b.lost = p != nil
		before, after := faults(seed)
		b.driver.Before(before)
		b.driver.After(after)
		const askers, commands = 32, 200
		done := make(chan struct{})
		for i := range uint64(askers) {
			go func() {
				a := asker{b, rand.New(rand.NewPCG(seed, i)), p != nil}
				for range commands {
					time.Sleep(time.Duration(a.dice.IntN(100)) * time.Millisecond)
					a.once()
				}
				done <- struct{}{}
			}()
		}
		for range askers {
			<-done
		}
		// What is still to come too late has come, and is discarded.
		if p != nil {
			p.over.Store(true)
			t.Logf("%d steps panicked", p.count.Load())
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		started, exited := 0, 0
		for _, e := range b.told() {
			switch e.(type) {
			case messages.ContainerStarted, messages.ExecStarted:
				started++
			case messages.ProcessExited:
				exited++
			}
		}
		t.Logf("%d were started, %d exited", started, exited)
		if started < 30 || exited < 30 || p != nil && p.count.Load() < 50 {
			t.Error("too few: the test is void")
		}
	})
}
