package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/troupe-run/troupe/bench/daemon"
	"github.com/troupe-run/troupe/bench/load"
	"github.com/troupe-run/troupe/bench/load/containerd"
)

const (
	// callTimeout is short, because what stalls would stall for hours.
	callTimeout = 30 * time.Second
	// podContainers of the pod that shims are counted for.
	podContainers = 3
	// killedAfter is the life of an exec that is killed, on the average: long
	// enough that it sleeps by then.
	killedAfter = 50 * time.Millisecond
	// killCount is how many are killed in each round, if they are in killTime.
	killCount = 100
	killTime  = 45 * time.Second
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
	if err := b.kills(ctx); err != nil {
		return err
	}
	return b.live(ctx)
}

// kills kills execs that live, one at a time.
func (b *bench) kills(ctx context.Context) error {
	report, err := b.load(ctx, load.Options{AtOnce: 1, Count: killCount, Duration: killTime, Killed: 1, Lifetime: killedAfter})
	if err != nil {
		return err
	}
	b.addKills(report)
	b.say("%d kills: p50 %s, kill-to-exit p50 %s", report.Counts.Killed, load.Duration(p50(report, load.OpKill)), load.Duration(p50(report, load.OpKillToExit)))
	return nil
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
