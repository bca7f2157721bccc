package runsc

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// Renumber gives a container's sandbox another pid, in what was written down here
// and by runsc.
func Renumber(t *testing.T, o Options, id string, from, to int) {
	t.Helper()
	state, err := findRecord(o.Root, id)
	if err != nil {
		t.Fatal(err)
	}
	paths, err := memos(o.StateDir)
	if err != nil || len(paths) != 1 {
		t.Fatal(paths, err)
	}
	for _, path := range []string{state, paths[0]} {
		b, err := os.ReadFile(path)
		if err == nil {
			old := []byte(`"pid":` + strconv.Itoa(from))
			if !bytes.Contains(b, old) {
				t.Fatalf("%s has no %s", filepath.Base(path), old)
			}
			err = os.WriteFile(path, bytes.ReplaceAll(b, old, []byte(`"pid":`+strconv.Itoa(to))), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
