package runsc

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// removeLocks removes what is left of runsc's own records when a sandbox is gone:
// a `runsc delete` opens those of all containers of its sandbox to set their OOM
// scores (runsc/container/container.go, adjustSandboxOOMScoreAdj), and so makes
// the lock file of one anew that another `runsc delete` has just removed. Of a
// sandbox that lives they are left alone: one may be of a container that is being
// made.
func (c *container) removeLocks() {
	if !c.sandbox.isGone() {
		return
	}
	locks, _ := filepath.Glob(filepath.Join(c.driver.options.Root, "*_sandbox:"+string(c.sandbox.id)+".lock"))
	for _, lock := range locks {
		if _, err := os.Lstat(strings.TrimSuffix(lock, ".lock") + ".state"); errors.Is(err, fs.ErrNotExist) {
			_ = os.Remove(lock)
		}
	}
}
