package main

import (
	"debug/buildinfo"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/troupe-run/troupe/bench/load"
)

// levels are how many execs are kept alive at once.
var levels = []int{1, 4, 8, 16, 64}

// shim is one that is measured.
type shim struct {
	// Name of its program, without what all have in common.
	Name string `json:"name"`
	// Runtime as containerd knows it.
	Runtime string `json:"runtime"`
	Program string `json:"program"`
	// Runsc: it drives gVisor and takes its configuration file.
	Runsc bool `json:"runsc"`
	// Levels at which it is measured.
	Levels []int `json:"levels"`
	// Variant: a changed copy of another, measured at some levels only.
	Variant bool `json:"variant"`
}

const (
	troupe = "troupe"
	runc   = "runc"
	runsc  = "runsc"
	wide   = "runsc, wide"
)

// allShims in the order of the tables.
var allShims = []shim{
	{Name: troupe, Runtime: "io.containerd.troupe.v1", Program: "containerd-shim-troupe-v1", Runsc: true, Levels: levels},
	{Name: runc, Runtime: "io.containerd.runc.v2", Program: "containerd-shim-runc-v2", Levels: levels},
	{Name: runsc, Runtime: "io.containerd.runsc.v1", Program: "containerd-shim-runsc-v1", Runsc: true, Levels: levels},
	{Name: wide, Runtime: "io.containerd.runscwide.v1", Program: "containerd-shim-runscwide-v1", Runsc: true, Levels: []int{8, 16, 64}, Variant: true},
}

// findShims fails for the first that is not there.
func findShims(path []string) ([]shim, error) {
	for _, s := range allShims {
		if find(path, s.Program) == "" {
			return nil, fmt.Errorf("there is no %s in %s; \"make bench-peers\" builds it", s.Program, strings.Join(path, ", "))
		}
	}
	if find(path, "runc") == "" {
		if _, err := exec.LookPath("runc"); err != nil {
			return nil, fmt.Errorf("there is no runc; \"make bench-peers\" builds it")
		}
	}
	return allShims, nil
}

func find(path []string, name string) string {
	for _, dir := range path {
		if found, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return found
		}
	}
	return ""
}

// versions are what the go command recorded in each program: of its own module,
// or of the one that it was built from.
func versions(path []string) []load.Fact {
	var facts []load.Fact
	for _, p := range []struct{ name, module string }{
		{"containerd", "github.com/containerd/containerd/v2"},
		{"containerd-shim-troupe-v1", "github.com/troupe-run/troupe"},
		{"containerd-shim-runc-v2", "github.com/containerd/containerd/v2"},
		{"runc", "github.com/opencontainers/runc"},
		{"containerd-shim-runsc-v1", "gvisor.dev/gvisor"},
		{"containerd-shim-runscwide-v1", "gvisor.dev/gvisor"},
		{"runsc", "gvisor.dev/gvisor"},
	} {
		if file := find(path, p.name); file != "" {
			facts = append(facts, load.Fact{Name: p.name, Value: moduleVersion(file, p.module)})
		}
	}
	return facts
}

func moduleVersion(file, module string) string {
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return "not known"
	}
	revision := ""
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && info.Main.Path == module {
			revision = " " + s.Value[:min(12, len(s.Value))]
		}
	}
	version := info.Main.Version
	if revision == "" && info.Main.Path == module {
		// Built where the go command could not ask git.
		if out, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output(); err == nil {
			revision = " " + strings.TrimSpace(string(out))
		}
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == module {
			version = m.Version
		}
	}
	if strings.Contains(version, strings.TrimSpace(revision)) {
		revision = ""
	}
	return fmt.Sprintf("%s%s, %s", version, revision, info.GoVersion)
}
