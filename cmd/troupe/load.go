package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/troupe-run/troupe/bench/load"
)

// exitInterrupted is a shell's for a program that SIGINT ended.
const exitInterrupted = 128 + int(syscall.SIGINT)

// loadFlags are those of troupe load.
type loadFlags struct {
	options load.Options
	mix     string
	output  size

	rootfs  string
	network string

	containerd  string
	runtime     string
	config      string
	namespace   string
	image       string
	snapshotter string

	json, html string
}

func newLoad(h *host) *cobra.Command {
	f := &loadFlags{output: 64 << 10}
	o := &f.options
	cmd := &cobra.Command{
		Use:   "load [flags]",
		Short: "Put sandboxes under load, measure, and check the order of events",
		Long: `Keep execs alive in sandboxes, for a time or a count, and report latencies,
throughput, memory, errors, and whether every event came in order.

The load is put on this program's own runtime, or with --containerd on any
runtime of a containerd. Everything is deleted at the end, and after Ctrl-C,
which ends the load early; the report is printed in both cases.

Exit codes: 0 done; 1 an event was out of order, something was left or leaked,
or nothing could be run; 2 wrong usage; 130 interrupted.`,
		Example: `  troupe load
  troupe load --at-once 64 --duration 1m --html report.html
  troupe load --count 1000 --mix true=8,sleep=1,output=1 --output-size 1M --kill 10% --terminal 5%
  troupe load --sandboxes 4 --containers 3 --json report.json
  troupe load --containerd /run/containerd/containerd.sock --runtime io.containerd.troupe.v1 --image docker.io/library/busybox:latest`,
		Args: func(_ *cobra.Command, args []string) error { return f.check(args) },
		RunE: func(cmd *cobra.Command, _ []string) error { return runLoad(cmd, h, f) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.IntVar(&o.Sandboxes, "sandboxes", 1, "sandboxes at once")
	flags.IntVar(&o.Containers, "containers", 1, "containers of each sandbox (a pod)")
	flags.IntVarP(&o.AtOnce, "at-once", "n", 8, "execs at once, over all containers")
	flags.DurationVarP(&o.Duration, "duration", "d", 0, "how long (default 10s, if there is no --count)")
	flags.IntVarP(&o.Count, "count", "c", 0, "how many execs")
	flags.StringVar(&f.mix, "mix", "true", "commands and their weights, of true, sleep and output: true=70,sleep=20,output=10")
	flags.Var(&f.output, "output-size", "what each output command writes")
	flags.DurationVar(&o.Lifetime, "lifetime", 50*time.Millisecond, "of a sleep, and of what is killed, more or less")
	flags.Var((*share)(&o.Killed), "kill", "how many of the execs are killed: 10% or 0.1")
	flags.Var((*share)(&o.Cancelled), "cancel", "how many have their start given up by the client")
	flags.Var((*share)(&o.Terminal), "terminal", "how many have a terminal")
	flags.Uint64Var(&o.Seed, "seed", 1, "of what is drawn by chance")
	flags.DurationVar(&o.Interval, "interval", 0, "between samples (default: a 120th of the duration, 250ms to 10s)")
	flags.DurationVar(&o.CallTimeout, "call-timeout", time.Minute, "how long one call may take")
	flags.BoolVar(&o.Leaks, "leaks", false, "fail if memory, files, threads and so on grow steadily")
	flags.StringVar(&f.json, "json", "", "write the report to this file as JSON")
	flags.StringVar(&f.html, "html", "", "write the report to this file as a page with charts")
	flags.StringVar(&f.rootfs, "rootfs", "", "root file system, a folder (default: that of this machine)")
	addNetwork(cmd, &f.network)
	flags.StringVar(&f.containerd, "containerd", "", "load the containerd at this socket")
	flags.StringVar(&f.runtime, "runtime", "io.containerd.troupe.v1", "containerd's runtime to load")
	flags.StringVar(&f.config, "runtime-config", "", "configuration file for that runtime, as shims of gVisor take one")
	flags.StringVar(&f.namespace, "namespace", "default", "containerd's namespace")
	flags.StringVar(&f.image, "image", "", "image of the containers, already there and unpacked; it needs true, sleep and head")
	flags.StringVar(&f.snapshotter, "snapshotter", "overlayfs", "containerd's snapshotter")
	return cmd
}

// check finds what is wrong with the command line alone.
func (f *loadFlags) check(args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%q is not a flag, and load takes nothing else", args[0])
	}
	if _, err := parseNetwork(f.network); err != nil {
		return err
	}
	if f.containerd != "" && f.image == "" {
		return errors.New("--containerd needs an --image; \"ctr images ls\" lists what is there")
	}
	if f.containerd == "" && (f.image != "" || f.config != "") {
		return errors.New("--image and --runtime-config are for --containerd; use --rootfs")
	}
	if f.containerd != "" && f.rootfs != "" {
		return errors.New("--rootfs is not for --containerd; use --image")
	}
	var err error
	if f.options.Mix, err = load.ParseMix(f.mix); err != nil {
		return fmt.Errorf("--mix %q: %w", f.mix, err)
	}
	f.options.OutputBytes = int64(f.output)
	return f.options.Validate()
}

// runLoad makes the load and reports it.
func runLoad(cmd *cobra.Command, h *host, f *loadFlags) error {
	// Before the load, which may take hours, and not after it.
	files, err := createAll(f.json, f.html)
	if err != nil {
		return fail(err)
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// A second signal ends us at once.
	context.AfterFunc(ctx, stop)

	stderr := cmd.ErrOrStderr()
	target, closeTarget, err := f.target(ctx, h, h.logger(stderr))
	if err != nil {
		return fail(err)
	}
	p := newProgress(stderr)
	f.options.Progress, f.options.ProgressInterval = p.show, p.interval
	report, err := load.Run(ctx, target, f.options)
	p.end()
	err = errors.Join(err, closeTarget())
	if report == nil {
		return fail(err)
	}
	err = errors.Join(err, report.WriteText(cmd.OutOrStdout()),
		files.write(f.json, report.WriteJSON), files.write(f.html, report.WriteHTML))
	switch {
	case err != nil:
		return fail(err)
	case report.Failed():
		return fail(errors.New("something did not hold that must: see the report"))
	case report.Interrupted:
		return &failure{exitInterrupted, nil}
	case report.Counts.Completed+report.Counts.Cancelled == 0:
		return fail(errors.New("no exec was completed"))
	}
	return nil
}

// outputs are files that were opened, by name.
type outputs map[string]*os.File

func createAll(names ...string) (outputs, error) {
	out := outputs{}
	for _, name := range names {
		if name == "" || out[name] != nil {
			continue
		}
		file, err := os.Create(name)
		if err != nil {
			return nil, fmt.Errorf("make the file for the report: %w", err)
		}
		out[name] = file
	}
	return out, nil
}

func (o outputs) write(name string, write func(io.Writer) error) error {
	file := o[name]
	if file == nil {
		return nil
	}
	if err := errors.Join(write(file), file.Close()); err != nil {
		return fmt.Errorf("write the report to %s: %w", name, err)
	}
	return nil
}
