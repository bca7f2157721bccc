package main

import (
	"slices"
	"testing"

	"github.com/troupe-run/troupe/bench/load"
)

func TestCounts(t *testing.T) {
	var c counts
	if err := c.Set("50, 500,2000"); err != nil || !slices.Equal(c, counts{50, 500, 2000}) {
		t.Errorf("%v, %v", c, err)
	}
	if c.String() != "50,500,2000" {
		t.Errorf("printed as %s", c.String())
	}
	for _, wrong := range []string{"", "0", "-1", "50,", "50,50", "500,50", "many"} {
		if err := c.Set(wrong); err == nil {
			t.Errorf("%q is %v", wrong, c)
		}
	}
}

// What is outside of the sandbox is a part of all: shim and stubs, and neither
// sentry nor gofer nor guests.
func TestNewLive(t *testing.T) {
	before := load.State{ByRole: map[load.Role]load.Usage{
		load.RoleRuntime: {Processes: 1, RSS: 1000, PSS: 900, Threads: 5},
		load.RoleSentry:  {Processes: 1, RSS: 5000, PSS: 5000, Threads: 7},
	}}
	after := load.State{ByRole: map[load.Role]load.Usage{
		load.RoleRuntime: {Processes: 1, RSS: 1100, PSS: 980, Threads: 7},
		load.RoleStub:    {Processes: 10, RSS: 2000, PSS: 300, Threads: 40},
		load.RoleSentry:  {Processes: 1, RSS: 6000, PSS: 6000, Threads: 7},
		load.RoleGuest:   {Processes: 10, RSS: 400, PSS: 100, Threads: 10},
	}}
	want := live{
		Execs: 10, All: share{RSS: 350, PSS: 148, Processes: 2, Threads: 5.2},
		Outside: share{RSS: 210, PSS: 38, Processes: 1, Threads: 4.2},
		Shim:    after.ByRole[load.RoleRuntime],
	}
	if got := newLive(10, before, after); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// One round that was measured is enough; of none the first says why.
func TestMissing(t *testing.T) {
	f := &figures{Live: []live{
		{Execs: 50, Missing: "slow"}, {Execs: 50, Outside: share{PSS: 7}},
		{Execs: 500, Missing: "no memory"}, {Execs: 500, Missing: "slow"},
	}}
	for n, want := range map[int]string{50: "", 500: "no memory", 2000: ""} {
		if got := f.missing(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	if v, ok := f.live(50, outsidePSS); v != 7 || !ok {
		t.Errorf("%v, %v", v, ok)
	}
	if v, ok := f.live(500, outsidePSS); ok {
		t.Errorf("%v was never measured", v)
	}
}

func TestAvailableMemory(t *testing.T) {
	if got := availableMemory("MemTotal: 10 kB\nMemFree:  1 kB\nMemAvailable:      3 kB\n"); got != 3<<10 {
		t.Errorf("%d bytes", got)
	}
	if got := availableMemory("MemTotal: 10 kB\n"); got != 0 {
		t.Errorf("%d bytes of what is not told", got)
	}
}
