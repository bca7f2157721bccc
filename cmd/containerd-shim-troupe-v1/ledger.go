package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/troupe-run/troupe/messages"
)

// ledger keeps what containerd's words need and the actors' do not have: where
// a container's bundle is, the pid that stands for it on the host, and what it
// used when last asked.
type ledger struct {
	mu         sync.Mutex
	containers map[messages.ContainerID]entry
}

type entry struct {
	bundle string
	pid    int
	usage  messages.Usage
}

func newLedger() *ledger { return &ledger{containers: map[messages.ContainerID]entry{}} }

func (l *ledger) change(c messages.ContainerID, f func(*entry)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.containers[c]
	f(&e)
	l.containers[c] = e
}

func (l *ledger) get(c messages.ContainerID) entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.containers[c]
}

func (l *ledger) remove(c messages.ContainerID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.containers, c)
}

// pid is what containerd is told for a process: its own on the host, else that
// of its sandbox, since an exec need not have one. Never a pid of inside the
// sandbox: somebody might send a signal to it, out here.
func (l *ledger) pid(p messages.Process, pids messages.PIDs) uint32 {
	if pids.Host != 0 {
		return uint32(pids.Host)
	}
	return uint32(l.get(p.Container).pid)
}

// Files in a bundle that outlive the shim, for "delete".
const (
	stateFile = "troupe.json"
	exitFile  = "exit.json"
)

// savedState is what "delete" needs to clean up after a shim that is gone.
type savedState struct {
	// Root and Path are runsc's, Config its flags.
	Root   string            `json:"root"`
	Path   string            `json:"path,omitempty"`
	Config map[string]string `json:"config,omitempty"`
	// Grouped: the shim serves every container of the sandbox.
	Grouped bool `json:"grouped,omitempty"`
	// Socket is the shim's, StateDir its folder for what its driver keeps.
	Socket   string `json:"socket,omitempty"`
	StateDir string `json:"stateDir,omitempty"`
}

// savedExit is how an init ended.
type savedExit struct {
	PID    uint32    `json:"pid"`
	Status int       `json:"status"`
	At     time.Time `json:"at"`
}

// writeJSON replaces a file whole: a reader after a crash sees the old or the
// new one.
func writeJSON(bundle, name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	path := filepath.Join(bundle, name)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func readJSON(bundle, name string, v any) error {
	data, err := os.ReadFile(filepath.Join(bundle, name))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(bundle, name), err)
	}
	return nil
}
