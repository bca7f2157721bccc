package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
)

// runtimeName is what containerd and its users call this runtime.
const runtimeName = "io.containerd.troupe.v1"

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run is the program without its process: it returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	inv, err := parseInvocation(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err == nil {
		err = inv.do(stdin, stdout)
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", runtimeName, err)
		return 1
	}
	return 0
}

// invocation is one way in which containerd calls the program.
type invocation struct {
	namespace     string
	id            string
	address       string
	publishBinary string
	bundle        string
	socket        string
	debug         bool
	info          bool
	version       bool
	// action is "start", "delete", or empty for the shim itself.
	action string
}

func parseInvocation(args []string, output io.Writer) (invocation, error) {
	var inv invocation
	set := flag.NewFlagSet("containerd-shim-troupe-v1", flag.ContinueOnError)
	set.SetOutput(output)
	set.StringVar(&inv.namespace, "namespace", "", "containerd `namespace` of the container")
	set.StringVar(&inv.id, "id", "", "`id` of the container")
	set.StringVar(&inv.address, "address", "", "`address` of containerd's gRPC socket")
	set.StringVar(&inv.publishBinary, "publish-binary", "", "`program` that publishes events where TTRPC_ADDRESS names no socket")
	set.StringVar(&inv.bundle, "bundle", "", "`folder` of the bundle, if it is not the working directory")
	set.StringVar(&inv.socket, "socket", "", "`path` of the socket to serve, in place of the inherited one")
	set.String("debug-socket", "", "accepted for containerd's sake; there is no debug server")
	set.BoolVar(&inv.debug, "debug", false, "log debug messages")
	set.BoolVar(&inv.info, "info", false, "read runtime options from stdin, print what the runtime can do (a protobuf), and exit")
	set.BoolVar(&inv.version, "v", false, "print the version and exit")
	set.BoolVar(&inv.version, "version", false, "print the version and exit")
	if err := set.Parse(args); err != nil {
		return inv, err
	}
	inv.action = set.Arg(0)
	return inv, nil
}

func (inv invocation) do(stdin io.Reader, stdout io.Writer) error {
	switch {
	case inv.version:
		return printVersion(stdout)
	case inv.info:
		return printInfo(stdin, stdout)
	case inv.namespace == "":
		return errors.New("there is no namespace: containerd names it with -namespace")
	case inv.id == "":
		return errors.New("there is no container id: containerd names it with -id")
	}
	switch inv.action {
	case "start":
		return startShim(inv, stdin, stdout)
	case "delete":
		return cleanUp(inv, stdout)
	case "":
		return serve(inv)
	}
	return fmt.Errorf("unknown action %q: there are start and delete", inv.action)
}

// bundlePath is the folder of the container's bundle, absolute.
func (inv invocation) bundlePath() (string, error) {
	if inv.bundle != "" {
		return filepath.Abs(inv.bundle)
	}
	return os.Getwd()
}

// version is the module's version and revision, as Go recorded them.
func version() (release, revision, goVersion string) {
	release, revision = "unknown", "unknown"
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return release, revision, ""
	}
	if build.Main.Version != "" {
		release = build.Main.Version
	}
	for _, s := range build.Settings {
		if s.Key == "vcs.revision" {
			revision = s.Value
		}
	}
	return release, revision, build.GoVersion
}

func printVersion(w io.Writer) error {
	release, revision, goVersion := version()
	_, err := fmt.Fprintf(w, "containerd-shim-troupe-v1:\n  Version:  %s\n  Revision: %s\n  Go version: %s\n\n", release, revision, goVersion)
	return err
}
