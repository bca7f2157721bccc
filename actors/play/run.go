package play

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/messages"
)

// DefaultTimeout bounds one command of a script.
const DefaultTimeout = time.Minute

// Options say what a script runs on.
type Options struct {
	// Runtime answers the messages. Required.
	Runtime *actors.Runtime
	// Bundler makes the bundles of create. Required.
	Bundler Bundler
	// Timeout bounds each command; wait has its own where the script names
	// one. Zero: [DefaultTimeout].
	Timeout time.Duration
	// Played is told each directive and its output as soon as it is there, if
	// it is not nil.
	Played func(d Directive, output string)
}

// Result is what a script gave.
type Result struct {
	// Outputs belong to Script.Directives, in their order. There are fewer if
	// the context ended.
	Outputs []string
	// Leftovers are the processes that the script left alive, execs first, in
	// the order in which they were killed and deleted.
	Leftovers []Leftover
}

// Leftover is a process that a script did not delete.
type Leftover struct {
	Process messages.Process
	// Status is what it was at the end of the script.
	Status messages.Status
	// Err is why it could not be deleted, or nil.
	Err error
}

func (l Leftover) String() string {
	if l.Err != nil {
		return fmt.Sprintf("%s (%s, not deleted: %v)", l.Process, l.Status, l.Err)
	}
	return fmt.Sprintf("%s (%s)", l.Process, l.Status)
}

// Run plays a script. Errors of commands are output; an error of Run means that
// the script was not played to its end: the options are incomplete, or ctx
// ended. What the script made is gone when Run returns, but for leftovers that
// say otherwise.
func Run(ctx context.Context, script *Script, o Options) (Result, error) {
	if o.Runtime == nil || o.Bundler == nil {
		return Result{}, &messages.Error{
			Kind: messages.InvalidArgument, Op: "play " + script.Name,
			Err: errors.New("Options.Runtime and Options.Bundler are required"),
		}
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	s := &stage{
		options: o,
		events:  o.Runtime.Subscribe(0),
		records: map[messages.Process]*record{},
		deleted: map[messages.Process]*record{},
	}
	defer s.close()

	var result Result
	for _, d := range script.Directives {
		if ctx.Err() != nil {
			break
		}
		text := printed(d.step.send(ctx, s)())
		result.Outputs = append(result.Outputs, text)
		if o.Played != nil {
			o.Played(d, text)
		}
	}
	// Also a script that was interrupted leaves nothing behind.
	result.Leftovers = s.clear(context.WithoutCancel(ctx))
	if err := ctx.Err(); err != nil {
		return result, fmt.Errorf("play %s: interrupted after %d of %d directives: %w",
			script.Name, len(result.Outputs), len(script.Directives), err)
	}
	return result, nil
}

// printed is output as a file can have it: nothing, or lines that all end, and
// none that would be read as a separator.
func printed(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if line == Separator {
			b.WriteByte('\\')
		}
		b.WriteString(line)
		b.WriteByte('\n')
	}
	return b.String()
}

// errorText prints an error on one line.
func errorText(err error) string {
	text := strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), " ")
	return fmt.Sprintf("error %v: %s", messages.KindOf(err), text)
}

func memoryLimit(bytes int64) *messages.Resources {
	return &messages.Resources{Memory: &specs.LinuxMemory{Limit: &bytes}}
}
