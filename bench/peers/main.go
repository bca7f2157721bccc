// Command peers measures containerd's shims side by side: Troupe's, runc's and
// gVisor's own, under one containerd, in turns, with one load generator. It
// writes RESULTS.md, the charts in it, and peers.json with all figures.
//
// It needs root and what "make bench-peers" builds.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/troupe-run/troupe/bench/daemon"
)

func main() {
	o := options{Live: counts{50, 500, 2000}}
	flag.StringVar(&o.bin, "bin", "bin", "folder of the programs, as \"make containerd shim rivals\" leaves it")
	flag.StringVar(&o.out, "out", "bench", "folder for RESULTS.md and what belongs to it")
	flag.IntVar(&o.Rounds, "rounds", 3, "how often every shim has its turn")
	flag.DurationVar(&o.Duration, "duration", 5*time.Second, "of each measurement of throughput")
	flag.IntVar(&o.Containers, "containers", 5, "containers that are made, one after the other, in each round")
	flag.Var(&o.Live, "live", "how many execs live when it is measured what each keeps; after the first round only the first number")
	render := flag.Bool("render", false, "measure nothing, write RESULTS.md anew from peers.json")
	flag.Parse()
	if flag.NArg() > 0 || o.Rounds < 1 || o.Containers < 1 || o.Duration <= 0 {
		fmt.Fprintln(os.Stderr, "peers: a flag is not understood, or not positive")
		flag.Usage()
		os.Exit(2)
	}
	if *render {
		os.Exit(exitCode(renderAgain(o.out)))
	}
	os.Exit(daemon.Namespaces{}.Run(func() int { return exitCode(run(o)) }))
}

func exitCode(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		return 1
	}
	return 0
}

// options say how thorough the measurement is.
type options struct {
	bin, out string

	Rounds     int           `json:"rounds"`
	Duration   time.Duration `json:"duration_ns"`
	Containers int           `json:"containers"`
	Live       counts        `json:"live_execs"`
}

// run measures and writes.
func run(o options) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop)
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return err
	}
	path := []string{bin, filepath.Join(bin, "containerd-2"), filepath.Join(bin, "rivals")}
	shims, err := findShims(path)
	if err != nil {
		return err
	}
	runsc := filepath.Join(bin, "runsc")
	if _, err := os.Stat(runsc); err != nil {
		return fmt.Errorf("%w; \"make bench-peers\" builds it", err)
	}
	d, err := daemon.Start(ctx, path, runsc)
	if err != nil {
		return err
	}
	results, err := measure(ctx, d, shims, o)
	if stopErr := d.Stop(); err == nil {
		err = stopErr
	}
	if err != nil {
		return err
	}
	results.Versions = versions(path)
	if err := results.save(o.out); err != nil {
		return err
	}
	return results.write(o.out)
}

func renderAgain(out string) error {
	results, err := readResults(out)
	if err != nil {
		return err
	}
	return results.write(out)
}
