package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/troupe-run/troupe/bench/daemon"
	"github.com/troupe-run/troupe/bench/load"
	"github.com/troupe-run/troupe/bench/load/containerd"
	"github.com/troupe-run/troupe/messages"
)

const (
	// callTimeout is short, because what stalls would stall for hours.
	callTimeout = 30 * time.Second
	// podContainers of the pod that shims are counted for.
	podContainers = 3
)

// measure gives every shim its turn in every round, in an order that is turned
// by one each time, so that none is always the one after the noisiest.
func measure(ctx context.Context, d *daemon.Daemon, shims []shim, o options) (*results, error) {
	r := &results{Options: o, Started: time.Now(), Machine: load.Machine()}
	for _, s := range shims {
		r.Shims = append(r.Shims, &figures{Shim: s, Levels: map[int][]level{}})
	}
	for round := range o.Rounds {
		for i := range shims {
			f := r.Shims[(i+round)%len(shims)]
			if err := f.turn(ctx, d, o, round); err != nil {
				return nil, fmt.Errorf("round %d of %s: %w", round+1, f.Shim.Program, err)
			}
		}
	}
	r.Elapsed = time.Since(r.Started)
	return r, nil
}

// turn is one round of one shim.
func (f *figures) turn(ctx context.Context, d *daemon.Daemon, o options, round int) error {
	b := &bench{figures: f, daemon: d, options: o, round: round}
	if !f.Shim.Variant {
		for range o.Containers {
			report, err := b.load(ctx, load.Options{AtOnce: 1, Count: 1})
			if err != nil {
				return err
			}
			f.addContainers(report)
		}
	}
	for _, n := range f.Shim.Levels {
		report, err := b.load(ctx, load.Options{AtOnce: n, Duration: o.Duration})
		if err != nil {
			return err
		}
		f.addLevel(n, report)
		b.say("%2d at once: %.1f execs per second, start-to-exit p50 %s", n, report.Rate(), load.Duration(p50(report, load.OpStartToExit)))
	}
	if f.Shim.Variant {
		return nil
	}
	report, err := b.load(ctx, load.Options{AtOnce: 1, Count: 1, Containers: podContainers})
	if err != nil {
		return err
	}
	f.Pods = append(f.Pods, report.Idle.ByRole[load.RoleRuntime])
	return b.live(ctx)
}

// bench is one round of one shim.
type bench struct {
	*figures
	daemon  *daemon.Daemon
	options options
	round   int
	loads   int
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "round %d  %-12s %s\n", b.round+1, b.Shim.Name, fmt.Sprintf(format, args...))
}

func (b *bench) dial(ctx context.Context) (*containerd.Target, error) {
	b.loads++
	o := containerd.Options{
		Address: b.daemon.Address, Namespace: daemon.Namespace, Runtime: b.Shim.Runtime,
		Image: daemon.Image, Snapshotter: "overlayfs",
		// Of its own, so that a shim that lingers is not counted for the next.
		Prefix: fmt.Sprintf("r%d-%d-%s", b.round, b.loads, b.Shim.Program[len("containerd-shim-"):]),
	}
	if b.Shim.Runsc {
		o.Config = b.daemon.RunscConfig
	}
	return containerd.Dial(ctx, o)
}

// load makes a load. That execs fail is a result; that nothing can be run is an
// error.
func (b *bench) load(ctx context.Context, o load.Options) (*load.Report, error) {
	t, err := b.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	o.Prefix, o.CallTimeout = t.Prefix(), callTimeout
	report, err := load.Run(ctx, t, o)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case report == nil || len(report.Idle.ByRole) == 0:
		return nil, errors.Join(err, errors.New("no container could be made"))
	case err != nil:
		b.say("%d at once: %v", o.AtOnce, err)
	}
	b.addTrouble(report)
	if report.End.ByRole[load.RoleRuntime].Processes > 0 {
		// It must not be in the way of the next measurement.
		b.say("is left with %d processes, which are killed", report.End.ByRole[load.RoleRuntime].Processes)
		b.daemon.KillOthers()
	}
	return report, nil
}

// live measures what execs keep that are alive: they are started one after the
// other, because not every shim can start many at once.
func (b *bench) live(ctx context.Context) error {
	t, err := b.dial(ctx)
	if err != nil {
		return err
	}
	defer t.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	c := load.Container{ID: messages.ContainerID(t.Prefix() + "-0-0"), Sandbox: messages.SandboxID(t.Prefix() + "-0-0")}
	init := messages.Init(c.ID)
	if err := t.Create(ctx, c); err != nil {
		return err
	}
	err = t.Start(ctx, init)
	if err == nil {
		err = b.liveIn(ctx, t, c.ID)
	}
	// Also after an error, and then the first one counts.
	cleanCtx, cancelClean := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancelClean()
	_ = t.Kill(cleanCtx, init, syscall.SIGKILL)
	_, waitErr := t.Wait(cleanCtx, init)
	return errors.Join(err, waitErr, t.Delete(cleanCtx, init))
}

func (b *bench) liveIn(ctx context.Context, t *containerd.Target, container messages.ContainerID) error {
	before := load.Look(t)
	var execs []messages.Process
	for i := range b.options.Live {
		p := messages.Process{Container: container, Exec: messages.ExecID(fmt.Sprintf("live-%d", i))}
		if err := t.Add(ctx, load.Exec{Process: p, Args: []string{"sleep", "3600"}}); err != nil {
			return err
		}
		if err := t.Start(ctx, p); err != nil {
			return err
		}
		execs = append(execs, p)
	}
	after := load.Look(t)
	b.Live = append(b.Live, newLive(before, after, len(execs)))
	for _, p := range execs {
		if err := t.Kill(ctx, p, syscall.SIGKILL); err != nil && messages.KindOf(err) != messages.NotFound {
			return err
		}
		if _, err := t.Wait(ctx, p); err != nil {
			return err
		}
		if err := t.Delete(ctx, p); err != nil {
			return err
		}
	}
	l := b.Live[len(b.Live)-1]
	b.say("%d live execs: %s of memory (PSS) each", len(execs), load.Bytes(l.PSS))
	return nil
}
