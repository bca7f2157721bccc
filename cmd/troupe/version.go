package main

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func newVersion(h *host) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the versions of this program and of the runsc it uses",
		Example: "  troupe version",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "troupe %s\n", version())
			fmt.Fprintf(out, "go     %s %s/%s\n", strings.TrimPrefix(runtime.Version(), "go"), runtime.GOOS, runtime.GOARCH)
			path, err := h.findRunsc()
			if err != nil {
				fmt.Fprintf(out, "runsc  none found\n")
				return nil
			}
			text, err := runscVersion(cmd.Context(), path)
			if err != nil {
				text = err.Error()
			}
			fmt.Fprintf(out, "runsc  %s (%s)\n", text, path)
			return nil
		},
	}
}

// version is that of the module, as the go command recorded it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && !strings.Contains(v, s.Value[:min(12, len(s.Value))]) {
			v += " " + s.Value
		}
	}
	return v
}

// runscVersion is the first line of `runsc --version`. A runsc that was built
// by the go command says VERSION_MISSING there: only release builds know theirs.
func runscVersion(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", path, err)
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	line = strings.TrimPrefix(line, "runsc version ")
	if line == "VERSION_MISSING" {
		return "built without a version", nil
	}
	return line, nil
}
