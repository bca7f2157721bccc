// Command idle starts an empty runtime and prints its own resident memory in
// KiB (VmRSS of /proc/self/status), for a benchmark.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/actors/fake"
)

func main() {
	rt, err := actors.New(actors.Options{Driver: fake.New()})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for line := range strings.Lines(string(status)) {
		if kib, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			fmt.Println(strings.TrimSuffix(strings.TrimSpace(kib), " kB"))
		}
	}
	_ = rt // alive until here
}
