package containerd

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// shims are the pids of the shims of a namespace whose containers' ids begin
// with the prefix. Every shim is called with -namespace and -id (containerd,
// core/runtime/v2, binary.go).
func shims(namespace, prefix string) []int {
	var pids []int
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		data, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err != nil {
			continue
		}
		if isShim(strings.Split(string(data), "\x00"), namespace, prefix) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

func isShim(args []string, namespace, prefix string) bool {
	if !strings.HasPrefix(filepath.Base(args[0]), "containerd-shim-") {
		return false
	}
	return flagValue(args, "namespace") == namespace && strings.HasPrefix(flagValue(args, "id"), prefix+"-")
}

// flagValue is what follows -name, as package flag reads it.
func flagValue(args []string, name string) string {
	for i, arg := range args {
		arg, dashed := strings.CutPrefix(arg, "-")
		arg = strings.TrimPrefix(arg, "-")
		if value, ok := strings.CutPrefix(arg, name+"="); ok && dashed {
			return value
		}
		if dashed && arg == name && i+1 < len(args) {
			return args[i+1]
		}
	}
	return ""
}
