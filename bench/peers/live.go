package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/troupe-run/troupe/bench/load"
	"github.com/troupe-run/troupe/bench/load/containerd"
	"github.com/troupe-run/troupe/messages"
)

const (
	// restTime is without a call, before memory is looked at. What a shim's heap
	// holds without need is a matter of moments: Troupe's gives it back after
	// three seconds, containerd's and gVisor's every 30 (containerd, pkg/shim,
	// setRuntime).
	restTime = 35 * time.Second
	// startTime bounds the starts of a step: so much for each exec on the
	// average, which is twenty times what the slowest takes on a quiet machine.
	startTime = 400 * time.Millisecond
	// clearTime bounds the end of a container with all of its execs.
	clearTime = 2 * time.Minute
	// leastMemory must be left, or the machine would be measured and not a shim.
	leastMemory = 2 << 30
	// tellEvery so many starts it is told how far they are.
	tellEvery = 250
)

// live measures the shim of a container at rest, and what execs keep in it that
// are alive. What a shim can not do is a result; only the end of ctx is an error.
func (b *bench) live(ctx context.Context) error {
	t, err := b.dial(ctx)
	if err != nil {
		return err
	}
	defer t.Close()
	c := load.Container{ID: messages.ContainerID(t.Prefix() + "-0-0"), Sandbox: messages.SandboxID(t.Prefix() + "-0-0")}
	if err := b.begin(ctx, t, c); err != nil {
		return err
	}
	b.crowd(ctx, t, c.ID)
	b.clear(ctx, t, messages.Init(c.ID))
	return context.Cause(ctx)
}

// begin makes the container. Others were made before, so an error is one.
func (b *bench) begin(ctx context.Context, t *containerd.Target, c load.Container) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := t.Create(ctx, c); err != nil {
		return err
	}
	return t.Start(ctx, messages.Init(c.ID))
}

// clear ends the container by the end of its init, which takes all execs with
// it. Nothing of it must be in the way of the next measurement.
func (b *bench) clear(ctx context.Context, t *containerd.Target, init messages.Process) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clearTime)
	defer cancel()
	err := t.Kill(ctx, init, syscall.SIGKILL)
	if err == nil {
		_, err = t.Wait(ctx, init)
	}
	if err == nil {
		err = t.Delete(ctx, init)
	}
	for err == nil && len(t.Roots()) > 0 {
		err = sleep(ctx, 100*time.Millisecond)
	}
	if err != nil {
		b.say("its container does not end and is killed: %v", err)
	}
	b.daemon.KillOthers()
}

// crowd starts execs, step by step, and looks at each step. After an error the
// steps that are left have it as theirs.
func (b *bench) crowd(ctx context.Context, t *containerd.Target, container messages.ContainerID) {
	before, err := atRest(ctx, t)
	if err == nil {
		b.lookAtRest(ctx, t, before)
	}
	exits := &atomic.Int64{}
	if err == nil {
		err = countExits(ctx, t, exits)
	}
	steps := b.options.Live
	if b.round > 0 {
		// The largest take minutes, and differ little from round to round.
		steps = steps[:1]
	}
	started := 0
	for _, n := range steps {
		if err == nil {
			err = b.startUpTo(ctx, t, container, &started, n)
		}
		var after load.State
		if err == nil {
			after, err = atRest(ctx, t)
		}
		if gone := exits.Load(); err == nil && gone > 0 {
			err = fmt.Errorf("%d of %d execs ended by themselves", gone, n)
		}
		b.addLive(n, before, after, err)
	}
}

// lookAtRest adds the figures of a shim that has nothing to do.
func (b *bench) lookAtRest(ctx context.Context, t *containerd.Target, idle load.State) {
	r := rest{Shim: idle.ByRole[load.RoleRuntime]}
	err := errors.New("there is no shim")
	for _, pid := range t.Roots() {
		var n int
		if n, err = b.daemon.Goroutines(ctx, pid); err != nil {
			break
		}
		r.Goroutines += n
	}
	if err != nil {
		r.Missing = err.Error()
	}
	b.Rest = append(b.Rest, r)
	b.say("at rest: %s of memory, %d goroutines %s", load.Bytes(r.Shim.RSS), r.Goroutines, r.Missing)
}

// startUpTo starts execs, one after the other because not every shim can start
// many at once, until there are n.
func (b *bench) startUpTo(ctx context.Context, t *containerd.Target, container messages.ContainerID, started *int, n int) error {
	limit := callTimeout + time.Duration(n-*started)*startTime
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the %s for this step are over", load.Duration(limit)))
	defer cancel()
	for ; *started < n; *started++ {
		if *started > 0 && *started%tellEvery == 0 {
			b.say("%d execs live", *started)
		}
		p := messages.Process{Container: container, Exec: messages.ExecID(fmt.Sprintf("live-%d", *started))}
		err := enoughMemory()
		if err == nil {
			err = startSleep(ctx, t, p)
		}
		if err != nil {
			return fmt.Errorf("%d execs live, the next does not: %w", *started, err)
		}
	}
	return nil
}

func startSleep(ctx context.Context, t *containerd.Target, p messages.Process) error {
	ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, fmt.Errorf("no answer in %s", load.Duration(callTimeout)))
	defer cancel()
	err := t.Add(ctx, load.Exec{Process: p, Args: []string{"sleep", "2147483647"}})
	if err == nil {
		err = t.Start(ctx, p)
	}
	if err != nil && ctx.Err() != nil {
		// gRPC's text for it says nothing.
		return context.Cause(ctx)
	}
	return err
}

// countExits counts the ends of execs until ctx ends: execs that are gone would
// keep nothing, and their figure would be a lie.
func countExits(ctx context.Context, t *containerd.Target, exits *atomic.Int64) error {
	events, err := t.Events(ctx)
	if err != nil {
		return err
	}
	go func() {
		for e := range events {
			if _, ok := e.(messages.ProcessExited); ok {
				exits.Add(1)
			}
		}
	}()
	return nil
}

// atRest looks at a target that has had its rest.
func atRest(ctx context.Context, t *containerd.Target) (load.State, error) {
	if err := sleep(ctx, restTime); err != nil {
		return load.State{}, err
	}
	return load.Look(t), nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// enoughMemory is an error where little is left.
func enoughMemory() error {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return err
	}
	if left := availableMemory(string(data)); left < leastMemory {
		return fmt.Errorf("the machine has %s of memory left, and %s is kept free", load.Bytes(left), load.Bytes(leastMemory))
	}
	return nil
}

// availableMemory is in bytes (proc_meminfo(5)).
func availableMemory(meminfo string) int64 {
	for line := range strings.Lines(meminfo) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "MemAvailable:" {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n << 10
		}
	}
	return 0
}
