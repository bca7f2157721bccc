package bundle

import (
	"os"

	"github.com/troupe-run/troupe/actors/play"
)

// Writer makes the bundles of scripts.
type Writer struct {
	// Dir is where they are made. Empty: the folder for temporary files.
	Dir string
	// Network is that of every sandbox of the script.
	Network Network
}

// Bundle writes the bundle of a create directive.
func (w Writer) Bundle(s play.CreateSpec) (dir string, cleanup func(), err error) {
	dir, err = Write(w.Dir, Config{
		Container: s.Container,
		Sandbox:   s.Sandbox,
		Rootfs:    s.Rootfs,
		Process:   s.Program.Process(),
		Network:   w.Network,
	})
	return dir, func() { _ = os.RemoveAll(dir) }, err
}
