package load

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// WriteText writes the report for a person at a terminal.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	r.writeHead(&b)
	r.writeLatencies(&b)
	r.writeUsage(&b)
	r.writeVerdict(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) writeHead(b *strings.Builder) {
	o := r.Options
	fmt.Fprintf(b, "%s: %d sandbox(es) with %d container(s) each, %d execs at once, %s\n",
		r.About.Name, o.Sandboxes, o.Containers, o.AtOnce, o.Mix)
	for _, f := range r.About.Facts {
		fmt.Fprintf(b, "  %-10s %s\n", f.Name, f.Value)
	}
	c := r.Counts
	fmt.Fprintf(b, "\n%d execs completed in %.1f s: %.1f per second", c.Completed, r.Elapsed.Seconds(), r.Rate())
	if r.Interrupted {
		b.WriteString(" (interrupted)")
	}
	b.WriteByte('\n')
	fmt.Fprintf(b, "%d of them killed; beside them %d cancelled, %d cut short by the end, %d failed; %d with a terminal; %s of output\n",
		c.Killed, c.Cancelled, c.Cut, c.Failed, c.Terminal, Bytes(int64(c.Bytes)))
	if c.Completed > 0 {
		fmt.Fprintf(b, "%.2f ms of processor time per exec, of all processes\n", r.CPU*1000/float64(c.Completed))
	}
}

func (r *Report) writeLatencies(b *strings.Builder) {
	b.WriteByte('\n')
	t := tabwriter.NewWriter(b, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "latency\tcount\tmin\tp50\tp90\tp95\tp99\tp99.9\tmax\t")
	for _, l := range r.Latencies {
		h := &l.Histogram
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", l.Op, h.Count(),
			Duration(h.Min()), Duration(l.P50), Duration(l.P90), Duration(l.P95), Duration(l.P99), Duration(l.P999), Duration(h.Max()))
	}
	t.Flush()
}

// states are the moments of a report, by name.
func (r *Report) states() []struct {
	Name string
	State
} {
	return []struct {
		Name string
		State
	}{{"before", r.Baseline}, {"idle", r.Idle}, {"peak", r.peak()}, {"after", r.After}, {"end", r.End}}
}

// peak has the most of everything that a sample saw.
func (r *Report) peak() State {
	p := State{ByRole: map[Role]Usage{}}
	for _, s := range r.Samples {
		p.Goroutines = max(p.Goroutines, s.Goroutines)
		p.Zombies = max(p.Zombies, s.Zombies)
		p.Files = max(p.Files, s.Files)
		p.Mounts = max(p.Mounts, s.Mounts)
		for role, u := range s.ByRole {
			m := p.ByRole[role]
			m.Processes = max(m.Processes, u.Processes)
			m.RSS, m.PSS = max(m.RSS, u.RSS), max(m.PSS, u.PSS)
			m.Threads, m.FDs = max(m.Threads, u.Threads), max(m.FDs, u.FDs)
			p.ByRole[role] = m
		}
	}
	return p
}

func (r *Report) writeUsage(b *strings.Builder) {
	b.WriteByte('\n')
	t := tabwriter.NewWriter(b, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "uses\tprocesses\tRSS\tPSS\tthreads\tfds\tgoroutines\tzombies\tfiles\tmounts\t")
	for _, s := range r.states() {
		for _, role := range Roles {
			u, ok := s.ByRole[role]
			if !ok {
				continue
			}
			fmt.Fprintf(t, "%s %s\t%d\t%s\t%s\t%d\t%d\t", s.Name, role, u.Processes, Bytes(u.RSS), Bytes(u.PSS), u.Threads, u.FDs)
			if role == RoleRuntime {
				fmt.Fprintf(t, "%s\t%d\t%d\t%d\t", unknownIfZero(s.Goroutines), s.Zombies, s.Files, s.Mounts)
			} else {
				fmt.Fprint(t, "\t\t\t\t")
			}
			fmt.Fprintln(t)
		}
	}
	t.Flush()
}

// unknownIfZero: a runtime in another program does not tell its goroutines.
func unknownIfZero(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

func (r *Report) writeVerdict(b *strings.Builder) {
	fmt.Fprintln(b)
	if len(r.Errors) == 0 {
		fmt.Fprintln(b, "errors: none")
	}
	for _, e := range r.Errors {
		fmt.Fprintf(b, "error: %s, %s, %d times; the first: %s\n", e.Op, e.Kind, e.Count, e.Example)
	}
	if r.Violations.Count == 0 {
		fmt.Fprintf(b, "order: %d events, no violation\n", r.Events)
	}
	for _, rule := range slices.Sorted(maps.Keys(r.Violations.ByRule)) {
		fmt.Fprintf(b, "VIOLATION: %s: %d times\n", rule, r.Violations.ByRule[rule])
	}
	for _, text := range r.Violations.Texts {
		fmt.Fprintf(b, "  %s\n", text)
	}
	if more := r.Violations.Count - uint64(len(r.Violations.Texts)); more > 0 {
		fmt.Fprintf(b, "  and %d more\n", more)
	}
	if r.Options.Leaks && len(r.Leaks) == 0 {
		fmt.Fprintln(b, "leaks: none")
	}
	for _, l := range r.Leaks {
		fmt.Fprintf(b, "LEAK: %s\n", l)
	}
}
