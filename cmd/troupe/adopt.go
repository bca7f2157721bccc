package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

// adoptFlags are those of troupe adopt.
type adoptFlags struct {
	stateDir   string
	wait, kill bool
}

func newAdopt(h *host) *cobra.Command {
	f := &adoptFlags{}
	cmd := &cobra.Command{
		Use:   "adopt [flags]",
		Short: "Take charge of what a program that was killed has left",
		Long: `Find the sandboxes, containers and execs that a program with a Troupe runtime has
left when it was killed, and print one line for each: whether it runs, was
created and never started, or ended while nobody was there.

That is all, unless --wait or --kill says more. With --wait each exit is printed
as it comes, and when the last one has, everything is deleted; a SIGINT ends the
waiting and leaves what lives alone. With --kill everything is killed and
deleted at once. The exit of what ended while nobody was there is not known: 255.

What belongs to a program that lives is never touched.

Exit codes: 0 done, also if nothing was left; 1 if something could not be read,
adopted or deleted, or the waiting was ended by a signal.`,
		Example: `  troupe adopt                                  what "troupe run", "play" and others have left
  troupe adopt --wait                           wait for the exits, then delete
  troupe adopt --kill                           kill and delete it all
  troupe adopt --state-dir /run/app --root /run/app/runsc --kill`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) > 0:
				return fmt.Errorf("%q: adopt takes flags only", args[0])
			case f.wait && f.kill:
				return errors.New("--wait and --kill do not go together")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return f.adopt(cmd, h) },
	}
	cmd.Flags().StringVar(&f.stateDir, "state-dir", "", "look in this state folder (default: "+baseDir+" and what is in it of troupe run and play); with --root, only at containers in that folder of runsc's")
	cmd.Flags().BoolVar(&f.wait, "wait", false, "wait for the exits and print them, then delete")
	cmd.Flags().BoolVar(&f.kill, "kill", false, "kill and delete everything")
	return cmd
}

// place is where a driver has written down what it made.
type place struct {
	state, root string
	// private is the folder around both that a command of this program made for
	// itself, or empty.
	private string
}

// places finds where something was left. The error is about files that can not be
// read.
func (f *adoptFlags) places(root string) (found []place, err error) {
	dirs := []place{{state: f.stateDir}}
	if f.stateDir == "" {
		dirs[0].state = baseDir
	}
	private, _ := filepath.Glob(filepath.Join(baseDir, "cli-*"))
	for _, dir := range private {
		switch p := (place{state: filepath.Join(dir, "state"), private: dir}); f.stateDir {
		case "":
			dirs = append(dirs, p)
		case p.state:
			dirs[0] = p
		}
	}
	var failed []error
	for _, dir := range dirs {
		roots, err := runsc.LeftRoots(dir.state)
		if err != nil {
			failed = append(failed, err)
		}
		for _, r := range roots {
			if root == "" || filepath.Clean(r) == filepath.Clean(root) {
				found = append(found, place{state: dir.state, root: r, private: dir.private})
			}
		}
	}
	return found, errors.Join(failed...)
}

// adopt deals with every place, and fails in the end if any did.
func (f *adoptFlags) adopt(cmd *cobra.Command, h *host) error {
	if os.Geteuid() != 0 {
		return fail(errors.New("gVisor needs root here: run it with sudo"))
	}
	path, err := h.findRunsc()
	if err != nil {
		return fail(err)
	}
	for _, dir := range []*string{&f.stateDir, &h.root} {
		if *dir != "" {
			if *dir, err = filepath.Abs(*dir); err != nil {
				return fail(err)
			}
		}
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	places, err := f.places(h.root)
	failed := []error{err}
	if err == nil && len(places) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "nothing was left")
	}
	log := h.logger(cmd.ErrOrStderr())
	for _, p := range places {
		failed = append(failed, f.adoptAt(ctx, p, h.adoptOptions(path, p, log), cmd.OutOrStdout()))
	}
	if err := errors.Join(failed...); err != nil {
		return fail(err)
	}
	return nil
}

// adoptOptions are those of a driver for what is there: it makes nothing.
func (h *host) adoptOptions(path string, p place, log *slog.Logger) runsc.Options {
	o := runsc.Options{Path: path, Platform: h.platform, ExecDriver: h.execDriver, Root: p.root, StateDir: p.state, Logger: log}
	if !cgroupsWritable() {
		o.Config = map[string]string{"ignore-cgroups": "true"}
	}
	return o
}

// adoptAt deals with one place.
func (f *adoptFlags) adoptAt(ctx context.Context, p place, o runsc.Options, out io.Writer) error {
	driver, err := runsc.New(o)
	if err != nil {
		return err
	}
	all, err := driver.Survivors(ctx)
	for _, s := range all {
		fmt.Fprintln(out, describe(s))
	}
	if !f.wait && !f.kill || len(all) == 0 {
		return errors.Join(err, driver.Close())
	}
	rt, startErr := actors.New(actors.Options{Driver: driver, Logger: o.Logger})
	if startErr != nil {
		return errors.Join(err, startErr, driver.Close())
	}
	// Each is created, added, started and gone, and nobody reads before all are taken.
	events := rt.Subscribe(8 * len(all))
	taken, adoptErr := rt.Adopt(ctx)
	failed := []error{adoptErr} // what could not be read is in it again
	if f.wait && !awaitAll(ctx, events, taken, out) {
		// Shutdown would kill what lives. It goes on when this program has ended.
		return errors.Join(append(failed, errors.New("the waiting was ended by a signal; what lives is left alone"), driver.Close())...)
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	failed = append(failed, rt.Shutdown(late))
	if f.kill {
		for e := range events.Events() {
			tell(out, e)
		}
	}
	if err := errors.Join(failed...); err != nil {
		return err
	}
	p.remove(all)
	return nil
}

// awaitAll prints the exits of what was adopted until the last has come. It is
// false if ctx ended first.
func awaitAll(ctx context.Context, events *actors.Subscription, taken []messages.Survivor, out io.Writer) bool {
	left := map[messages.Process]bool{}
	for _, s := range taken {
		if s.Started {
			left[s.Process] = true
		}
	}
	for len(left) > 0 {
		select {
		case e, ok := <-events.Events():
			if !ok {
				return true
			}
			if x, exited := e.(messages.ProcessExited); exited {
				tell(out, e)
				delete(left, x.Process)
			}
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// tell prints an exit.
func tell(out io.Writer, e messages.Event) {
	x, ok := e.(messages.ProcessExited)
	if !ok {
		return
	}
	line := fmt.Sprintf("%s exited with %d", x.Process, x.Exit.Status)
	if x.Exit.Reason != "" {
		line += ": " + x.Exit.Reason
	}
	fmt.Fprintln(out, line)
}

// describe is the line of what was found.
func describe(s messages.Survivor) string {
	state := "runs"
	switch {
	case s.Ended:
		state = "ended while nobody was there"
	case !s.Started:
		state = "was created and never started"
	}
	var about []string
	if s.PIDs.Host != 0 && !s.Ended {
		about = append(about, fmt.Sprintf("host pid %d", s.PIDs.Host))
	}
	if s.PIDs.Guest != 0 && !s.Ended {
		about = append(about, fmt.Sprintf("guest pid %d", s.PIDs.Guest))
	}
	if s.Process.IsInit() {
		if string(s.Sandbox) != string(s.Process.Container) {
			about = append(about, "in sandbox "+string(s.Sandbox))
		}
		about = append(about, "bundle "+s.Bundle)
	} else if len(s.Spec.Args) > 0 {
		about = append(about, fmt.Sprintf("command %q", s.Spec.Args))
	}
	return fmt.Sprintf("%s %s: %s", s.Process, state, strings.Join(about, ", "))
}

// remove removes what a command of this program has made for itself, when all
// that was in it is deleted.
func (p place) remove(all []messages.Survivor) {
	if p.private == "" {
		return
	}
	if left, err := os.ReadDir(p.state); err != nil || len(left) > 0 {
		return
	}
	for _, s := range slices.Backward(all) {
		if strings.HasPrefix(filepath.Base(s.Bundle), "troupe-bundle-") {
			_ = os.RemoveAll(s.Bundle)
		}
	}
	(&session{dir: p.private}).removeDir()
}
