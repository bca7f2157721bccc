package main

import (
	"runtime/debug"
	"time"
)

// idleAfter is how long no call must have come before memory is given back.
// Probes of Kubernetes come every ten seconds, and between them a shim should
// be small.
const idleAfter = 3 * time.Second

// gcPercent keeps the heap of a shim near what lives in it; containerd's own
// shims have the same (pkg/shim, setRuntime).
const gcPercent = 40

// idleWatch returns memory to the host when calls have ceased. A node has a
// shim for each pod: what each holds on to is held a hundred times.
type idleWatch struct{ timer *time.Timer }

func newIdleWatch() *idleWatch {
	debug.SetGCPercent(gcPercent)
	return &idleWatch{timer: time.AfterFunc(idleAfter, debug.FreeOSMemory)}
}

// busy puts the moment off.
func (w *idleWatch) busy() { w.timer.Reset(idleAfter) }

func (w *idleWatch) stop() { w.timer.Stop() }
