package play

import (
	"strings"

	"github.com/aymanbagabas/go-udiff"
)

// Source is the script as it was read, with newlines at the ends of its lines.
func (s *Script) Source() string { return joinLines(s.lines) }

// Rewrite is the script with outputs in the place of what was expected;
// everything else stays as it is. A directive without an output keeps what it
// has.
func Rewrite(s *Script, outputs []string) string {
	var b strings.Builder
	next := 0
	for i, d := range s.Directives {
		if i >= len(outputs) || outputs[i] == d.Expected {
			continue
		}
		b.WriteString(joinLines(s.lines[next:d.outputFirst]))
		b.WriteString(FormatOutput(outputs[i]))
		next = d.outputEnd
	}
	b.WriteString(joinLines(s.lines[next:]))
	return b.String()
}

// Check compares what a script gave with what it expects. The difference is a
// unified diff, empty where there is none.
func Check(s *Script, outputs []string) string {
	return udiff.Unified(s.Name, s.Name+" (played)", s.Source(), Rewrite(s, outputs))
}

// FormatOutput is an output as it stands in a file behind its separator, in the
// form that reads back as the same: between double separators where it has blank
// lines.
func FormatOutput(output string) string {
	if !hasBlankLine(output) {
		return output
	}
	return Separator + "\n" + output + Separator + "\n" + Separator + "\n"
}

func hasBlankLine(output string) bool {
	for line := range strings.Lines(output) {
		if strings.TrimSpace(line) == "" {
			return true
		}
	}
	return false
}
