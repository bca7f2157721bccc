package play

import (
	"fmt"
	"strings"
)

// Separator is the line between a directive's input and its output.
const Separator = "----"

// Script is a script that can be run: every directive in it is well formed.
type Script struct {
	// Name is the file's, as it is in messages.
	Name string
	// Directives in the order of the file.
	Directives []Directive

	// lines is the whole file, so that Rewrite can keep what is not output.
	lines []string
}

// Directive is one step of a script.
type Directive struct {
	// Line is the number of the directive line, from 1.
	Line int
	// Name is its first word: "exec".
	Name string
	// Text is the directive line as it was written, continuations joined.
	Text string
	// Input is the text between the directive line and the separator.
	Input string
	// Expected is the output that stands in the file; it ends in a newline
	// unless it is empty.
	Expected string

	step step
	// outputFirst is the index in Script.lines of the line after the first
	// separator, outputEnd that of the first line that is no longer output: the
	// blank line, or the end of the file.
	outputFirst, outputEnd int
}

// Lines says where in [Script.Lines] its output stands: the index of the first
// line of it, and of the first line behind it.
func (d Directive) Lines() (output, end int) { return d.outputFirst, d.outputEnd }

// Lines are those of the file. They are not to be changed.
func (s *Script) Lines() []string { return s.lines }

// SyntaxError says where a script can not be read and what was expected there.
type SyntaxError struct {
	// Name is the file's and Line the number of the line, from 1.
	Name string
	Line int
	// Want is what was expected, and what was found in its place.
	Want string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%s:%d: %s", e.Name, e.Line, e.Want) }

// Parse reads a script. name is used in messages only. The error is a
// *[SyntaxError].
func Parse(name, text string) (*Script, error) {
	p := &parser{script: &Script{Name: name, lines: splitLines(text)}}
	for p.next < len(p.script.lines) {
		if err := p.directive(); err != nil {
			return nil, err
		}
	}
	return p.script, nil
}

// splitLines cuts a text at its newlines; a carriage return before one is no
// part of the line, as for bufio.ScanLines.
func splitLines(text string) []string {
	if text == "" {
		return nil
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimSuffix(lines[i], "\r")
	}
	return lines
}

// parser reads a script line by line.
type parser struct {
	script *Script
	// next is the index of the line to read next.
	next int
}

func (p *parser) fail(line int, format string, args ...any) error {
	return &SyntaxError{Name: p.script.Name, Line: line, Want: fmt.Sprintf(format, args...)}
}

// directive reads one directive with its input and output, or a line that is
// none.
func (p *parser) directive() error {
	first := p.next
	text := strings.TrimSpace(p.script.lines[first])
	p.next++
	if strings.HasPrefix(text, "#") || text == "" {
		return nil
	}
	for strings.HasSuffix(text, `\`) && p.next < len(p.script.lines) {
		text = strings.TrimSuffix(text, `\`) + " " + strings.TrimSpace(p.script.lines[p.next])
		p.next++
	}
	d := Directive{Line: first + 1, Text: text}
	inputFirst := p.next
	if err := p.input(&d); err != nil {
		return err
	}
	line, err := parseLine(text, false)
	if err != nil {
		return p.fail(d.Line, "%v", err)
	}
	d.Name = line.name
	var lineError *inputError
	switch d.step, err = compile(line, d.Input); {
	case asInputError(err, &lineError):
		// The input is trimmed: its first line is the first that is not blank.
		for inputFirst < len(p.script.lines) && strings.TrimSpace(p.script.lines[inputFirst]) == "" {
			inputFirst++
		}
		return p.fail(inputFirst+1+lineError.line, "%v", lineError.err)
	case err != nil:
		return p.fail(d.Line, "%v", err)
	}
	if err := p.output(&d); err != nil {
		return err
	}
	p.script.Directives = append(p.script.Directives, d)
	return nil
}

// input reads up to the separator.
func (p *parser) input(d *Directive) error {
	first := p.next
	for ; p.next < len(p.script.lines); p.next++ {
		if p.script.lines[p.next] == Separator {
			d.Input = strings.TrimSpace(strings.Join(p.script.lines[first:p.next], "\n"))
			p.next++
			d.outputFirst = p.next
			return nil
		}
	}
	return p.fail(d.Line, "expected a line %q after %q and its input, found the end of the file", Separator, d.Text)
}

// output reads the expected output and the blank line after it.
func (p *parser) output(d *Directive) error {
	lines := p.script.lines
	if p.next < len(lines) && lines[p.next] == Separator {
		return p.outputWithBlankLines(d)
	}
	for p.next < len(lines) && strings.TrimSpace(lines[p.next]) != "" {
		p.next++
	}
	d.outputEnd = p.next
	d.Expected = joinLines(lines[d.outputFirst:d.outputEnd])
	return nil
}

// outputWithBlankLines reads output that ends with two separators.
func (p *parser) outputWithBlankLines(d *Directive) error {
	lines := p.script.lines
	first := p.next + 1
	for i := first; i+1 < len(lines); i++ {
		if lines[i] != Separator {
			continue
		}
		if lines[i+1] != Separator {
			// The library takes the two lines together here, so that
			// "----", "x", "----" is output.
			i++
			continue
		}
		d.Expected = joinLines(lines[first:i])
		d.outputEnd = i + 2
		p.next = i + 2
		if p.next < len(lines) && lines[p.next] != "" {
			return p.fail(p.next+1, "expected a blank line after two lines %q, found %q", Separator, lines[p.next])
		}
		return nil
	}
	return p.fail(d.outputFirst, "expected two lines %q after output that begins with two, found the end of the file", Separator)
}

// joinLines is the text of lines, each with its newline.
func joinLines(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}
