package play

import (
	"errors"
	"fmt"
	"strings"
)

// line is a directive line taken apart.
type line struct {
	name string
	args []argument
	// rest is what stands behind "--", where that was asked for.
	rest string
}

// argument is "key", "key=value" or "key=(value, value)".
type argument struct {
	key string
	// values is nil for a key that stands alone.
	values []string
}

// parseLine takes a directive line apart, as datadriven.ParseLine does. With
// dashes, an argument "--" ends the arguments and the rest of the line is kept
// as it is.
func parseLine(text string, dashes bool) (line, error) {
	var l line
	text = strings.TrimSpace(text)
	all := text
	l.name, text = until(text, " ")
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		if dashes && (text == "--" || strings.HasPrefix(text, "-- ")) {
			l.rest = strings.TrimSpace(text[2:])
			return l, nil
		}
		column := len(all) - len(text) + 1
		var a argument
		a.key, text = until(text, " =")
		if a.key == "" {
			return line{}, fmt.Errorf("column %d: expected NAME or NAME=VALUE, found %q", column, text)
		}
		if value, ok := strings.CutPrefix(text, "="); ok {
			var err error
			if a.values, text, err = parseValues(value); err != nil {
				return line{}, fmt.Errorf("column %d: %w in %q", column, err, a.key+"="+value)
			}
		}
		l.args = append(l.args, a)
	}
	return l, nil
}

// until cuts text before the first of chars.
func until(text, chars string) (before, after string) {
	if i := strings.IndexAny(text, chars); i >= 0 {
		return text[:i], text[i:]
	}
	return text, ""
}

var errUnclosed = errors.New("expected a closing parenthesis")

// parseValues reads what stands behind "=": one value up to a blank, or several
// in parentheses with commas between them. Parentheses in a value must pair.
func parseValues(text string) (values []string, rest string, err error) {
	if !strings.HasPrefix(text, "(") {
		value, rest := until(text, " ")
		return []string{value}, rest, nil
	}
	depth, from := 1, 1
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return append(values, text[from:i]), text[i+1:], nil
			}
		case ',':
			if depth > 1 {
				continue
			}
			values = append(values, text[from:i])
			for i+1 < len(text) && text[i+1] == ' ' {
				i++
			}
			from = i + 1
		}
	}
	return nil, "", errUnclosed
}
