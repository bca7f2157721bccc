package play

import (
	"errors"
	"fmt"
	"strings"
)

// splitWords cuts a command into its words with the quoting of a shell: single
// quotes keep everything, double quotes everything but \ before one of $`"\ and
// newline, and \ outside of quotes the next character. Nothing is expanded. A
// newline outside of quotes ends the command unless \ stands before it, so that
// a forgotten separator is found and not run.
func splitWords(text string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord := false
	at := 1 // the line, for messages
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\n':
			return nil, &inputError{line: at, err: fmt.Errorf(
				"expected %q after the command, found %q; quote a command of several lines, or end each with \\",
				Separator, firstLine(text[i+1:]))}
		case c == ' ' || c == '\t':
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		case c == '\\' && i+1 < len(text):
			i++
			if text[i] == '\n' {
				at++
				continue
			}
			inWord = true
			word.WriteByte(text[i])
		case c == '\'' || c == '"':
			inWord = true
			quoted, length, err := unquote(text[i:])
			if err != nil {
				return nil, &inputError{line: at - 1, err: err}
			}
			word.WriteString(quoted)
			at += strings.Count(text[i:i+length], "\n")
			i += length - 1
		default:
			inWord = true
			word.WriteByte(c)
		}
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// unquote reads the quoted text that text begins with, and its length with the
// quotes.
func unquote(text string) (string, int, error) {
	quote := text[0]
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == quote:
			return b.String(), i + 1, nil
		case quote == '"' && text[i] == '\\' && i+1 < len(text) && strings.IndexByte("$`\"\\\n", text[i+1]) >= 0:
			i++
			if text[i] != '\n' {
				b.WriteByte(text[i])
			}
		default:
			b.WriteByte(text[i])
		}
	}
	return "", 0, fmt.Errorf("expected a closing %c of %s", quote, firstLine(text))
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimLeft(text, "\n"), "\n")
	return line
}

// inputError is an error in the input of a directive.
type inputError struct {
	// line of the input, from 0.
	line int
	err  error
}

func (e *inputError) Error() string { return e.err.Error() }
func (e *inputError) Unwrap() error { return e.err }

func asInputError(err error, target **inputError) bool { return errors.As(err, target) }
