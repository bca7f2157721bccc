package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// finding is what one look at this machine gave.
type finding struct {
	what string
	// said is what was found.
	said string
	// do is what to do about it; empty where all is well.
	do string
	// fatal: the main job, to run a command in a sandbox, can not be done.
	fatal bool
}

func good(what, format string, args ...any) finding {
	return finding{what: what, said: fmt.Sprintf(format, args...)}
}

func (f finding) print(w io.Writer) {
	mark := "ok  "
	switch {
	case f.fatal:
		mark = "FAIL"
	case f.do != "":
		mark = "warn"
	}
	fmt.Fprintf(w, "%s  %-9s  %s", mark, f.what, f.said)
	if f.do != "" {
		fmt.Fprintf(w, "; %s", f.do)
	}
	fmt.Fprintln(w)
}

func newDoctor(h *host) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Say what this machine offers, and what to do about what is missing",
		Long: `Say what this machine offers, one line for each finding, and what to do about
what is missing. A tiny sandbox is really run.

Exit code 1 if no command could be run in a sandbox.`,
		Example: "  troupe doctor\n  troupe doctor --runsc ./bin/runsc --platform kvm",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fatal := false
			for _, look := range []func() finding{
				lookRoot,
				lookKernel,
				lookCgroup,
				lookFIFO,
				lookFiles,
				lookProcesses,
				func() finding { return h.lookRunsc(cmd.Context()) },
				func() finding { return h.lookSandbox(cmd.Context()) },
			} {
				f := look()
				f.print(cmd.OutOrStdout())
				fatal = fatal || f.fatal
			}
			if fatal {
				return fail(nil)
			}
			return nil
		},
	}
}
