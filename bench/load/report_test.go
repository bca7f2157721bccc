package load_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/troupe-run/troupe/bench/load"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files")

// sample report with something in every part.
func fullReport() *load.Report {
	r := &load.Report{
		About:   load.Description{Name: `a <b> & "c"`, Facts: []load.Fact{{Name: "platform", Value: "systrap"}}},
		Machine: []load.Fact{{Name: "processors", Value: "2"}},
		Options: load.Options{Sandboxes: 2, Containers: 1, AtOnce: 8, Mix: load.Mix{load.True: 1, load.Sleep: 2}, Duration: 3 * time.Second, Leaks: true},
		Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Elapsed: 3 * time.Second,
		Counts:     load.Counts{Started: 30, Completed: 27, Failed: 1, Killed: 3, Cancelled: 2, Terminal: 4, Bytes: 1 << 20},
		CPU:        1.5,
		Errors:     []load.ErrorCount{{Op: load.OpStart, Kind: "Unavailable", Count: 1, Example: "start load-0-0/w0-1: <gone>"}},
		Events:     120,
		Violations: load.Violations{Count: 2, ByRule: map[string]uint64{load.RuleOneExit: 2}, Texts: []string{"load-0-0/w1-1: exits a second time"}},
		Leaks:      []load.Leak{{What: "runtime RSS", From: 20 << 20, To: 40 << 20, Bytes: true, Why: "rising all the time"}},
	}
	var h load.Histogram
	for i := range 300 {
		h.Add(time.Duration(i*i) * time.Microsecond)
	}
	for _, op := range []string{load.OpAdd, load.OpStart, load.OpStartToExit, load.OpContainerCreate} {
		r.Latencies = append(r.Latencies, load.Latency{Op: op, P50: h.Quantile(0.5), P95: h.Quantile(0.95), P99: h.Quantile(0.99), Histogram: h})
	}
	for i := range 12 {
		r.Samples = append(r.Samples, load.Sample{
			At: time.Duration(i+1) * 250 * time.Millisecond, Completed: 3, Rate: 12, P50: 3 * time.Millisecond, P99: 9 * time.Millisecond,
			State: load.State{ByRole: map[load.Role]load.Usage{
				load.RoleRuntime: {Processes: 1, RSS: 20 << 20, PSS: 18 << 20, Threads: 8, FDs: 30, CPU: 0.5},
				load.RoleSentry:  {Processes: 2, RSS: 60 << 20, PSS: 50 << 20, Threads: 20, FDs: 90},
			}, Goroutines: 40 + i, Files: 7, Mounts: 20},
		})
	}
	state := r.Samples[0].State
	r.Baseline, r.Idle, r.After, r.End = state, state, state, state
	return r
}

func TestReportJSON(t *testing.T) {
	want := fullReport()
	var b bytes.Buffer
	if err := want.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	got, err := load.ReadJSON(&b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("after JSON the report is\n%+v\nand was\n%+v", got, want)
	}
}

// The page is well-formed, complete and needs nothing from elsewhere.
func TestReportHTML(t *testing.T) {
	var b bytes.Buffer
	if err := fullReport().WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	golden(t, "report.html", page)
	count := parse(t, page)
	for tag, least := range map[string]int{"svg": 10, "table": 5, "path": 10, "rect": 50} {
		if count[tag] < least {
			t.Errorf("there are %d <%s>, want %d at least", count[tag], tag, least)
		}
	}
	for tag := range map[string]bool{"script": true, "link": true, "img": true, "iframe": true} {
		if count[tag] > 0 {
			t.Errorf("there is a <%s>", tag)
		}
	}
	for _, elsewhere := range []string{"src=", "@import", "url(", "href="} {
		if strings.Contains(page, elsewhere) {
			t.Errorf("the page has %q", elsewhere)
		}
	}
	for _, text := range []string{"a &lt;b&gt; &amp;", "&lt;gone&gt;", "exits a second time", "runtime RSS: from 20.0 MiB to 40.0 MiB", "prefers-color-scheme:dark"} {
		if !strings.Contains(page, text) {
			t.Errorf("the page does not have %q", text)
		}
	}
}

// A load that never began has a report, too.
func TestReportOfNothing(t *testing.T) {
	var b bytes.Buffer
	r := &load.Report{}
	if err := errors.Join(r.WriteHTML(&b), r.WriteText(&b), r.WriteJSON(&b)); err != nil {
		t.Error(err)
	}
}

func TestReportText(t *testing.T) {
	var b bytes.Buffer
	if err := fullReport().WriteText(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.txt", b.String())
}

// parse reads a page as XML, as far as HTML differs from it, and counts tags.
func parse(t *testing.T, page string) map[string]int {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	count := map[string]int{}
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return count
		}
		if err != nil {
			t.Fatalf("the page is not well-formed: %v", err)
		}
		if start, ok := token.(xml.StartElement); ok {
			count[start.Name.Local]++
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(path, []byte(got), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; look at it after \"go test -rewrite\"", path)
	}
}
