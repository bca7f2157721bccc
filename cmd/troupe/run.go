package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/cobra"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/cmd/troupe/bundle"
	"github.com/troupe-run/troupe/messages"
)

// Exit codes of run for a command that could not be run, as a shell and docker
// give them.
const (
	exitNotRun        = 125
	exitNotExecutable = 126
	exitNotFound      = 127
)

// runFlags are those of troupe run.
type runFlags struct {
	rootfs, bundle string
	tty            bool
	env            []string
	cwd            string
	user           string
	memory         int64
	network        string
}

func newRun(h *host) *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{
		Use:   "run [flags] [--] CMD [ARG...]",
		Short: "Run a command in a new sandbox",
		Long: `Run a command as the init of a new sandbox, attached to this terminal or pipe.

The sandbox sees the root file system of this machine, or --rootfs, as it is;
what it writes stays in its memory and is gone with it. It can read what root
can read: use --rootfs or --user for what you do not trust.

Signals and the window's size are passed on. The third SIGINT or SIGTERM kills
the sandbox. The exit code is the command's: 128 + N where signal N ended it;
127 where it was not found, 126 where it is not executable, 125 where Troupe
could not run it.`,
		Example: `  troupe run -- uname -a
  troupe run --tty -- bash
  echo hello | troupe run -- tr a-z A-Z
  troupe run --rootfs /srv/alpine --user 1000:1000 --env NAME=world -- sh -c 'echo hello $NAME'
  troupe run --bundle /srv/bundle`,
		Args: func(cmd *cobra.Command, args []string) error { return f.check(cmd, args) },
		RunE: func(cmd *cobra.Command, args []string) error {
			f.auto(cmd)
			return runCommand(cmd, h, f, args)
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false) // the command's own flags are its own
	flags.StringVar(&f.rootfs, "rootfs", "", "root file system, a folder (default: that of this machine)")
	flags.StringVar(&f.bundle, "bundle", "", "run this OCI bundle as it is, in place of a command")
	flags.BoolVarP(&f.tty, "tty", "t", false, "give the command a terminal (default: if stdin and stdout are one)")
	flags.StringArrayVarP(&f.env, "env", "e", nil, "set NAME=VALUE in its environment, or NAME to what it is here; with --rootfs nothing else is passed on")
	flags.StringVar(&f.cwd, "cwd", "", "its working directory (default: this one, or / with --rootfs)")
	flags.StringVar(&f.user, "user", "0:0", "run as UID[:GID]")
	flags.Int64Var(&f.memory, "memory", 0, "limit its memory, in bytes")
	addNetwork(cmd, &f.network)
	return cmd
}

func addNetwork(cmd *cobra.Command, network *string) {
	cmd.Flags().StringVar(network, "network", string(bundle.None),
		"none: loopback only; host: that of this machine; sandbox: gVisor's own stack in a new network namespace, which has what you put there")
}

func parseNetwork(s string) (bundle.Network, error) {
	switch n := bundle.Network(s); n {
	case bundle.None, bundle.Host, bundle.Sandbox:
		return n, nil
	}
	return "", fmt.Errorf("--network %q is none of none, host, sandbox", s)
}

// check finds what is wrong with the command line alone.
func (f *runFlags) check(cmd *cobra.Command, args []string) error {
	if f.bundle == "" && len(args) == 0 {
		return errors.New("which command? name it after the flags, or use --bundle")
	}
	if f.bundle != "" {
		for _, other := range []string{"rootfs", "env", "cwd", "user", "memory", "tty"} {
			if cmd.Flags().Changed(other) {
				return fmt.Errorf("--bundle and --%s do not go together: the bundle's config.json says it", other)
			}
		}
		if len(args) > 0 {
			return fmt.Errorf("--bundle and a command (%q) do not go together: the bundle's config.json has one", args[0])
		}
	}
	if f.cwd != "" && !filepath.IsAbs(f.cwd) {
		return fmt.Errorf("--cwd %q is not an absolute path", f.cwd)
	}
	if f.memory < 0 {
		return fmt.Errorf("--memory %d is negative", f.memory)
	}
	if _, err := parseUser(f.user); err != nil {
		return err
	}
	_, err := parseNetwork(f.network)
	return err
}

// auto decides what the user left open.
func (f *runFlags) auto(cmd *cobra.Command) {
	if !cmd.Flags().Changed("tty") {
		f.tty = isTerminal(os.Stdin) && isTerminal(os.Stdout)
	}
}

func parseUser(s string) (specs.User, error) {
	uid, gid, both := strings.Cut(s, ":")
	u, err := strconv.ParseUint(uid, 10, 32)
	g := u
	if err == nil && both {
		g, err = strconv.ParseUint(gid, 10, 32)
	}
	if err != nil {
		return specs.User{}, fmt.Errorf("--user %q is not UID or UID:GID, in numbers", s)
	}
	return specs.User{UID: uint32(u), GID: uint32(g)}, nil
}

// process is what the flags say is to run.
func (f *runFlags) process(args []string) (specs.Process, error) {
	p := specs.Process{Args: args, Cwd: f.cwd, Terminal: f.tty}
	var err error
	if p.User, err = parseUser(f.user); err != nil {
		return p, err
	}
	if f.rootfs == "" {
		p.Env = os.Environ()
	} else {
		p.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
		if term := os.Getenv("TERM"); term != "" && f.tty {
			p.Env = append(p.Env, "TERM="+term)
		}
	}
	for _, e := range f.env {
		name, _, full := strings.Cut(e, "=")
		if !full {
			value, known := os.LookupEnv(name)
			if !known {
				continue
			}
			e = name + "=" + value
		}
		p.Env = setEnv(p.Env, name, e)
	}
	if p.Cwd == "" {
		p.Cwd = "/"
		if f.rootfs == "" {
			if p.Cwd, err = os.Getwd(); err != nil {
				return p, fmt.Errorf("find the working directory: %w; name one with --cwd", err)
			}
		}
	}
	return p, nil
}

func setEnv(env []string, name, entry string) []string {
	for i, old := range env {
		if strings.HasPrefix(old, name+"=") {
			env[i] = entry
			return env
		}
	}
	return append(env, entry)
}

// writeBundle makes the bundle of the command, or takes the user's.
func (f *runFlags) writeBundle(id messages.ContainerID, network bundle.Network, args []string) (dir string, terminal bool, err error) {
	if f.bundle != "" {
		dir, err := filepath.Abs(f.bundle)
		if err != nil {
			return "", false, err
		}
		terminal, err := bundle.Terminal(dir)
		return dir, terminal, err
	}
	p, err := f.process(args)
	if err != nil {
		return "", false, err
	}
	dir, err = bundle.Write("", bundle.Config{
		Container: id, Rootfs: f.rootfs, Process: p, Memory: f.memory, Network: network,
	})
	return dir, f.tty, err
}

// runCommand runs the command to its end. The error carries its exit code.
func runCommand(cmd *cobra.Command, h *host, f *runFlags, args []string) error {
	notRun := func(err error) error { return &failure{exitNotRun, err} }
	network, err := parseNetwork(f.network)
	if err != nil {
		return err
	}
	id := messages.ContainerID(fmt.Sprintf("run-%d", os.Getpid()))
	log := h.logger(cmd.ErrOrStderr())
	dir, terminal, err := f.writeBundle(id, network, args)
	if err != nil {
		return notRun(err)
	}
	if f.bundle == "" {
		defer os.RemoveAll(dir)
	}
	s, err := h.open(network, log)
	if err != nil {
		return notRun(err)
	}
	code, err := attach(cmd.Context(), s, log, messages.Create{Container: id, Bundle: dir}, terminal)
	if closeErr := s.close(); closeErr != nil {
		log.Warn("the runtime did not end well", "err", closeErr)
	}
	if err != nil || code != 0 {
		return &failure{code, err}
	}
	return nil
}

// attach runs a container with this program's streams and signals, and returns
// the exit code that run is to give.
func attach(ctx context.Context, s *session, log *slog.Logger, create messages.Create, terminal bool) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	init := messages.Init(create.Container)
	signals := watchSignals(cancel)
	defer signals.stop()

	tty, err := attachStreams(terminal)
	if err != nil {
		return exitNotRun, err
	}
	defer tty.restore()
	create.Stdio = tty.stdio(signals)
	if _, err := actors.Ask(ctx, s.Runtime, create); err != nil {
		return commandStatus(err), err
	}
	signals.forward(ctx, s, log, init, tty)
	// From here on it is the command's answer to a signal that counts: only
	// its exit ends the waiting.
	_, err = actors.Ask(context.WithoutCancel(ctx), s.Runtime, messages.Start{Process: init})
	if err != nil {
		return commandStatus(err), err
	}
	exited, err := actors.Ask(context.WithoutCancel(ctx), s.Runtime, messages.Wait{Process: init})
	if err != nil {
		return exitNotRun, err
	}
	// Delete drains the output.
	if _, err := actors.Ask(context.WithoutCancel(ctx), s.Runtime, messages.Delete{Process: init}); err != nil {
		log.Warn("delete after the exit", "err", err)
	}
	if exited.Exit.Reason != "" {
		return exited.Exit.Status, fmt.Errorf("%s ended with status %d: %s", init, exited.Exit.Status, exited.Exit.Reason)
	}
	return exited.Exit.Status, nil
}

// commandStatus is the exit code for a command that could not be run.
func commandStatus(err error) int {
	switch {
	case errors.Is(err, messages.NotFound):
		return exitNotFound
	case errors.Is(err, messages.FailedPrecondition) && strings.Contains(err.Error(), "permission denied"):
		return exitNotExecutable
	}
	return exitNotRun
}
