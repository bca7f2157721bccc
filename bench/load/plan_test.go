package load_test

import (
	"strings"
	"testing"
	"time"

	"github.com/troupe-run/troupe/bench/load"
)

func TestParseMix(t *testing.T) {
	for in, want := range map[string]string{
		"true":                   "true=1",
		"true=70, sleep=20":      "sleep=20,true=70",
		"output=1,true=0,sleep":  "output=1,sleep=1,true=0",
		"true,true":              "error: twice",
		"shell=1":                "error: none of the commands",
		"":                       "error: none of the commands",
		"true=0":                 "error: no command",
		"true=-1":                "error: not a number",
		"true=99999999999999999": "error: not a number",
	} {
		m, err := load.ParseMix(in)
		got := m.String()
		if err != nil {
			got = "error: " + err.Error()
		}
		if part, isError := strings.CutPrefix(want, "error: "); isError && !strings.Contains(got, part) || !isError && got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

// Every field that is wrong is named.
func TestOptionsValidate(t *testing.T) {
	err := load.Options{
		Sandboxes: -1, Containers: -1, AtOnce: 1 << 20, Count: -1, Duration: -1, Killed: 2, Cancelled: -1, Terminal: 1.5,
		OutputBytes: -1, Lifetime: -1, Patience: -1, Interval: -1, CallTimeout: -1, Mix: load.Mix{"x": 1},
	}.Validate()
	if err == nil {
		t.Fatal("options that are all wrong are taken")
	}
	for _, field := range []string{
		"Sandboxes", "Containers", "AtOnce", "Count", "Duration", "Killed", "Cancelled", "Terminal",
		"OutputBytes", "Lifetime", "Patience", "Interval", "CallTimeout", "Mix",
	} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%s is not named in %q", field, err)
		}
	}
	if err := (load.Options{}).Validate(); err != nil {
		t.Errorf("the zero value is refused: %v", err)
	}
	if err := (load.Options{Killed: 0.6, Cancelled: 0.6}).Validate(); err == nil {
		t.Error("more than all are killed or cancelled, and it is taken")
	}
}

func TestFormats(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0", 999: "999 ns", 1500: "1.50 µs", 12345678: "12.3 ms", 999 * time.Millisecond: "999 ms", 90 * time.Second: "90.0 s",
	} {
		if got := load.Duration(d); got != want {
			t.Errorf("%d ns is %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.50 KiB", 20 << 20: "20.0 MiB", 3 << 40: "3.00 TiB"} {
		if got := load.Bytes(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}
