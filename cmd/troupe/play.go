package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/troupe-run/troupe/actors/play"
	"github.com/troupe-run/troupe/cmd/troupe/bundle"
)

// playFlags are those of troupe play.
type playFlags struct {
	check, rewrite bool
	network        string
}

func newPlay(h *host) *cobra.Command {
	f := &playFlags{}
	cmd := &cobra.Command{
		Use:   "play [flags] FILE...",
		Short: "Play scripts of messages against real sandboxes",
		Long: `Play scripts of messages against real sandboxes, and print each with the outputs
that it gave. What a script leaves alive is killed, deleted and told on stderr.

A script is made of directives, each with its input, a line "----", its output
and a blank line:

` + indent(play.Usage()) + `

P is C, the init of container C, or C/E, exec E in it. A command to run stands
on the lines after create and exec, quoted as in a shell. In parallel it stands
behind "--". Lines that start with # are comments.`,
		Example: `  troupe play demo.play            print it with what it gave
  troupe play --check *.play       print what differs from the files; exit 1 if anything does
  troupe play --rewrite new.play   write what it gave into the file`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("which script? name one or more files")
			}
			if f.check && f.rewrite {
				return errors.New("--check and --rewrite do not go together")
			}
			_, err := parseNetwork(f.network)
			return err
		},
		RunE: func(cmd *cobra.Command, args []string) error { return playFiles(cmd, h, f, args) },
	}
	cmd.Flags().BoolVar(&f.check, "check", false, "print a diff where the outputs differ from the file, and exit 1")
	cmd.Flags().BoolVar(&f.rewrite, "rewrite", false, "write the outputs into the file")
	addNetwork(cmd, &f.network)
	return cmd
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  ")
}

// playFiles reads every file before it plays the first, so that a mistake in
// the last is found at once.
func playFiles(cmd *cobra.Command, h *host, f *playFlags, files []string) error {
	var scripts []*play.Script
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return fail(err)
		}
		script, err := play.Parse(file, string(text))
		if err != nil {
			return &failure{exitUsage, err}
		}
		scripts = append(scripts, script)
	}
	// SIGPIPE too: uncaught, a reader that goes away (play FILE | head) would end
	// us and leave the sandbox.
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	differs := false
	for _, script := range scripts {
		same, err := f.playOne(ctx, cmd, h, script)
		if err != nil {
			return fail(err)
		}
		differs = differs || !same
	}
	if differs {
		return fail(nil)
	}
	return nil
}

// playOne plays a script in a runtime of its own and deals with its outputs as
// the flags say. It tells whether they are as expected, where that was asked.
func (f *playFlags) playOne(ctx context.Context, cmd *cobra.Command, h *host, script *play.Script) (same bool, err error) {
	network, err := parseNetwork(f.network)
	if err != nil {
		return false, err
	}
	stdout, stderr := cmd.OutOrStdout(), cmd.ErrOrStderr()
	s, err := h.open(network, h.logger(stderr))
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, s.close()) }()

	o := play.Options{Runtime: s.Runtime, Bundler: bundle.Writer{Network: network}}
	var p *printer
	if !f.check && !f.rewrite {
		p = &printer{to: stdout, script: script, color: colored(stdout)}
		o.Played = p.played
	}
	result, err := play.Run(ctx, script, o)
	if len(result.Leftovers) > 0 {
		defer func() {
			fmt.Fprintf(stderr, "%s left over, killed and deleted: %s\n", script.Name, list(result.Leftovers))
		}()
	}
	if err != nil {
		return false, err
	}
	switch {
	case p != nil:
		p.rest()
	case f.rewrite:
		return true, rewriteFile(script, result.Outputs)
	default:
		diff := play.Check(script, result.Outputs)
		fmt.Fprint(stdout, diff)
		return diff == "", nil
	}
	return true, nil
}

func list(leftovers []play.Leftover) string {
	var texts []string
	for _, l := range leftovers {
		texts = append(texts, l.String())
	}
	return strings.Join(texts, ", ")
}

// rewriteFile writes only what changes: a file that is up to date keeps its
// time.
func rewriteFile(script *play.Script, outputs []string) error {
	text := play.Rewrite(script, outputs)
	if text == script.Source() {
		return nil
	}
	info, err := os.Stat(script.Name)
	if err != nil {
		return err
	}
	return os.WriteFile(script.Name, []byte(text), info.Mode().Perm())
}

// printer prints a script as it is played.
type printer struct {
	to     io.Writer
	script *play.Script
	color  bool
	// next is the line of the script to print next, from 0.
	next int
}

// played prints a directive, what stands before it, and what it gave.
func (p *printer) played(d play.Directive, output string) {
	before, after := d.Lines()
	p.print(p.script.Lines()[p.next:before])
	p.next = after
	for line := range strings.Lines(play.FormatOutput(output)) {
		switch {
		case p.color && strings.HasPrefix(line, "error "):
			fmt.Fprintf(p.to, "\x1b[31m%s\x1b[0m\n", strings.TrimSuffix(line, "\n"))
		case p.color:
			fmt.Fprintf(p.to, "\x1b[32m%s\x1b[0m\n", strings.TrimSuffix(line, "\n"))
		default:
			fmt.Fprint(p.to, line)
		}
	}
}

// rest prints what stands behind the last directive.
func (p *printer) rest() {
	p.print(p.script.Lines()[p.next:])
	p.next = len(p.script.Lines())
}

func (p *printer) print(lines []string) {
	for _, line := range lines {
		switch {
		case p.color && strings.HasPrefix(strings.TrimSpace(line), "#"):
			fmt.Fprintf(p.to, "\x1b[36m%s\x1b[0m\n", line)
		case p.color && line == play.Separator:
			fmt.Fprintf(p.to, "\x1b[2m%s\x1b[0m\n", line)
		default:
			fmt.Fprintln(p.to, line)
		}
	}
}

// colored tells whether a reader is there who sees colors (no-color.org).
func colored(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isTerminal(f) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}
