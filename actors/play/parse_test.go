package play

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// scripts are the scripts of the command line, which are played against runsc
// there.
func scripts(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("../../cmd/troupe/testdata/*.play")
	if err != nil {
		t.Fatal(err)
	}
	return append(files, "../../cmd/troupe/demo.play")
}

// The errors say where a script can not be read and what was expected there.
// The cases are in testdata: the input of a case is a script whose lines begin
// with "|".
func TestSyntaxErrors(t *testing.T) {
	datadriven.RunTest(t, "testdata/errors.txt", func(t *testing.T, d *datadriven.TestData) string {
		_, err := Parse("x.play", unbar(d.Input))
		if err == nil {
			return "ok"
		}
		var syntax *SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("%T is not a *SyntaxError", err)
		}
		return err.Error()
	})
}

// unbar takes the "|" from the beginnings of lines: a script has separators of
// its own, which would end the case.
func unbar(input string) string {
	var b strings.Builder
	for line := range strings.Lines(input + "\n") {
		b.WriteString(strings.TrimPrefix(line, "|"))
	}
	return b.String()
}

// The library reads the same directives from our scripts: the format is its.
func TestFormatIsDatadriven(t *testing.T) {
	for _, file := range scripts(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s, err := Parse(file, string(text))
			if err != nil {
				t.Fatal(err)
			}
			i := 0
			datadriven.RunTestFromString(t, string(text), func(t *testing.T, d *datadriven.TestData) string {
				if i >= len(s.Directives) {
					t.Fatalf("%s: the library reads more than %d directives", d.Pos, i)
				}
				ours := s.Directives[i]
				i++
				if ours.Name != d.Cmd || ours.Input != d.Input || ours.Expected != d.Expected {
					t.Fatalf("%s: we read %q %q %q, the library %q %q %q",
						d.Pos, ours.Name, ours.Input, ours.Expected, d.Cmd, d.Input, d.Expected)
				}
				return d.Expected
			})
			if i != len(s.Directives) {
				t.Errorf("we read %d directives, the library %d", len(s.Directives), i)
			}
		})
	}
}

func TestSplitWords(t *testing.T) {
	for text, want := range map[string][]string{
		`sh -c 'echo a  b'`:     {"sh", "-c", "echo a  b"},
		`a "b $HOME \$x \"q\""`: {"a", `b $HOME $x "q"`},
		`a\ b c\'d`:             {"a b", "c'd"},
		`'' ""`:                 {"", ""},
		`a'b'"c"d`:              {"abcd"},
		"a \\\nb":               {"a", "b"},
		"sh -c 'a\n\nb'":        {"sh", "-c", "a\n\nb"},
		`"a\nb"`:                {`a\nb`},
		`x\`:                    {`x\`},
		"\ta \t b ":             {"a", "b"},
	} {
		got, err := splitWords(text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("splitWords(%q) = %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestRewriteKeepsTheRest(t *testing.T) {
	text := "# title\n\nsleep 1ms\n----\nold\n\n# between\nsleep \\\n 2ms\n----\n----\na\n\nb\n----\n----\n\nsleep 3ms\n----\n# the end has no blank line"
	s, err := Parse("x", text)
	if err != nil {
		t.Fatal(err)
	}
	same := []string{"old\n", "a\n\nb\n", "# the end has no blank line\n"}
	if got := Rewrite(s, same); got != text+"\n" {
		t.Errorf("Rewrite with the same outputs gave\n%s", got)
	}
	if diff := Check(s, same); diff != "" {
		t.Errorf("Check with the same outputs gave\n%s", diff)
	}
	got := Rewrite(s, []string{"x\n\ny\n", "z\n", ""})
	want := "# title\n\nsleep 1ms\n----\n----\nx\n\ny\n----\n----\n\n# between\nsleep \\\n 2ms\n----\nz\n\nsleep 3ms\n----\n"
	if got != want {
		t.Errorf("Rewrite gave\n%s\nwant\n%s", got, want)
	}
	diff := Check(s, []string{"new\n", "a\n\nb\n"})
	for _, line := range []string{"--- x\n", "\n-old\n", "\n+new\n"} {
		if !strings.Contains(diff, line) {
			t.Errorf("the diff has no %q:\n%s", line, diff)
		}
	}
}

// What a process wrote is printed so that it reads back as the same, whatever
// it is.
func FuzzRewriteReadsBack(f *testing.F) {
	for _, seed := range []string{"", "a", "a\n\nb", "----", "----\n----\n", "\n", " \n", "\r\n\x1b[0m\xff\u2028\u00a0", "# x\nstart a\n----\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data string) {
		out := printed(captured{data: []byte(data), total: len(data)}.text())
		s, err := Parse("x", "sleep 1ms\n----\nold\n\nsleep 2ms\n----\nnext\n")
		if err != nil {
			t.Fatal(err)
		}
		outputs := []string{out, "next\n"}
		text := Rewrite(s, outputs)
		back, err := Parse("x", text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if len(back.Directives) != 2 || back.Directives[0].Expected != out || back.Directives[1].Expected != "next\n" {
			t.Fatalf("%q was written as %q and read as %+v", out, text, back.Directives)
		}
	})
}

// A script is read or refused, and one that is read keeps its text.
func FuzzParse(f *testing.F) {
	for _, file := range scripts(f) {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("exec a/b env=(A=(x, y), B=z) \\\n terminal\nsh -c 'a\n'\n----\n----\nx\n\n----\n----\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse("x", text)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Line < 1 || syntax.Line > strings.Count(text, "\n")+1 {
				t.Fatalf("%v (%T) for a text of %d lines", err, err, strings.Count(text, "\n")+1)
			}
			return
		}
		var outputs []string
		for _, d := range s.Directives {
			outputs = append(outputs, d.Expected)
		}
		if got := Rewrite(s, outputs); got != s.Source() {
			t.Fatalf("rewritten with the same outputs:\n%q\nwas\n%q", got, s.Source())
		}
		again, err := Parse("x", s.Source())
		if err != nil || len(again.Directives) != len(s.Directives) {
			t.Fatalf("%q does not read back: %v", s.Source(), err)
		}
	})
}

// Lines are taken apart as the library does it.
func FuzzLineIsDatadriven(f *testing.F) {
	for _, seed := range []string{"kill a/b TERM all", "exec a/b env=(A=(x, y), B=z) terminal", "a b= c=(", "x =y", "x y=()z w", "a b=(c,d e)"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.ContainsAny(text, "\n\r") {
			return // not one line
		}
		name, args, libraryError := datadriven.ParseLine(text)
		l, err := parseLine(text, false)
		if (err == nil) != (libraryError == nil) {
			t.Fatalf("%q: our error is %v, the library's %v", text, err, libraryError)
		}
		if err != nil {
			return
		}
		var ours []datadriven.CmdArg
		for _, a := range l.args {
			ours = append(ours, datadriven.CmdArg{Key: a.key, Vals: a.values})
		}
		if l.name != name || !reflect.DeepEqual(ours, args) {
			t.Fatalf("%q: we read %q %q, the library %q %q", text, l.name, ours, name, args)
		}
	})
}
