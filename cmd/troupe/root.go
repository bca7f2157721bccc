package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// Exit codes of every command but run, which gives its command's own.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// failure is an error of a command that was used rightly: its exit code, and
// what to print, which may be nil where all is said.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string {
	if f.err == nil {
		return fmt.Sprintf("exit code %d", f.code)
	}
	return f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// fail is a failure with exit code 1.
func fail(err error) error { return &failure{exitFailure, err} }

// execute runs the command line and returns its exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	// Whatever is not a failure was found wrong by the reader of the command
	// line.
	f := &failure{exitUsage, nil}
	if errors.As(err, &f) {
		if f.err != nil {
			fmt.Fprintf(stderr, "troupe: %v\n", f.err)
		}
		return f.code
	}
	fmt.Fprintf(stderr, "troupe: %v\nSee %q for how to use it.\n", err, cmd.CommandPath()+" --help")
	return exitUsage
}

func newRoot() *cobra.Command {
	h := &host{}
	root := &cobra.Command{
		Use:   "troupe",
		Short: "Run commands in gVisor sandboxes, each process an actor",
		Long: `Troupe runs the processes of gVisor (runsc) sandboxes as actors.

Exit codes: 0 done, 1 failed (or a script's output differs), 2 wrong usage or a
script that can not be read. "troupe run" gives the exit code of its command.`,
		Example: `  troupe doctor                        what this machine offers
  troupe run -- sh -c 'dmesg; id'      a command in a new sandbox
  troupe play demo.play                a script of messages, with what came back`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	h.addFlags(root.PersistentFlags())
	root.AddCommand(newRun(h), newPlay(h), newDoctor(h), newAdopt(h), newVersion(h), newLoad(h))
	return root
}
