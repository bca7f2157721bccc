package daemontest

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	benchdaemon "github.com/troupe-run/troupe/bench/daemon"
)

// weakVar is set for a process that is to run another program without
// CAP_SYS_RESOURCE.
const weakVar = "TROUPE_DAEMONTEST_WEAK"

// weaken becomes the program in args. What is not in the bounding set not even
// root gets by execve(2) (capabilities(7)).
func weaken(args []string) error {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_RESOURCE, 0, 0, 0); err != nil {
		return err
	}
	return unix.Exec(args[0], args, os.Environ())
}

// apart is where the tests run; CNI and kubelet have folders there.
var apart = benchdaemon.Namespaces{Tmpfs: []string{"/var/lib/cni", "/var/log/pods"}}

// TestMain runs the tests in namespaces of their own.
func TestMain(m *testing.M) {
	if os.Getuid() != 0 {
		fmt.Println("SKIP: the tests with containerd need root")
		os.Exit(0)
	}
	if os.Getenv(weakVar) != "" {
		fmt.Fprintln(os.Stderr, "run a program without CAP_SYS_RESOURCE:", weaken(os.Args[1:]))
		os.Exit(1)
	}
	flag.Parse()
	if !benchdaemon.Entered() && isWhole() {
		os.Exit(beside(
			append(slices.Clone(os.Args[1:]), "-test.skip="+waits),
			append(slices.Clone(os.Args[1:]), "-test.run="+waits)))
	}
	os.Exit(apart.Run(m.Run))
}

// waits is the test that does little but wait. In a run of the whole suite it is
// run beside the others, in namespaces of its own: a test looks for what it left
// behind in all that it can see.
const waits = "^TestRestart$"

// isWhole tells whether all tests are to be run, and only tests.
func isWhole() bool {
	for _, name := range []string{"test.run", "test.skip", "test.bench", "test.list", "test.fuzz"} {
		if flag.Lookup(name).Value.String() != "" {
			return false
		}
	}
	return true
}

// beside runs this program twice, with these arguments, and shows what the second
// prints after what the first does. It gives the exit code of the one that fails.
func beside(first, second []string) int {
	var printed bytes.Buffer
	code := make(chan int)
	go func() { code <- apart.Again(&printed, second...) }()
	failed, other := apart.Again(os.Stdout, first...), <-code
	os.Stdout.Write(printed.Bytes())
	if failed == 0 {
		failed = other
	}
	return failed
}
