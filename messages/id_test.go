package messages

import (
	"errors"
	"strings"
	"testing"
)

func TestIDs(t *testing.T) {
	for _, id := range []string{"a", "0", "a.b_c-D9", "...", "-", strings.Repeat("x", MaxIDLength)} {
		if err := ContainerID(id).Validate(); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, id := range []string{"", ".", "..", "a/b", "/", "../x", "a b", "a\x00", "é", "a\n", "%41", strings.Repeat("x", MaxIDLength+1)} {
		for what, err := range map[string]error{
			"sandbox":   SandboxID(id).Validate(),
			"container": ContainerID(id).Validate(),
			"exec":      ExecID(id).Validate(),
		} {
			if !errors.Is(err, InvalidArgument) || !strings.Contains(err.Error(), what) {
				t.Errorf("%s %q: %v, want an InvalidArgument that says what it is of", what, id, err)
			}
		}
	}
}

func TestProcess(t *testing.T) {
	for text, want := range map[string]Process{
		"c":   {Container: "c"},
		"c/e": {Container: "c", Exec: "e"},
	} {
		got, err := ParseProcess(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("ParseProcess(%q) = %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "/", "c/", "/e", "c/e/f", "c/..", "../e", "c//e"} {
		if got, err := ParseProcess(text); !errors.Is(err, InvalidArgument) {
			t.Errorf("ParseProcess(%q) = %+v, %v, want InvalidArgument", text, got, err)
		}
	}
}

// What is parsed is valid, and is written as it was read.
func FuzzParseProcess(f *testing.F) {
	f.Add("c/e")
	f.Add("c/../e")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseProcess(text)
		if err != nil {
			return
		}
		if err := p.Validate(); err != nil || p.String() != text {
			t.Errorf("%q was read as %+v: %v", text, p, err)
		}
	})
}
