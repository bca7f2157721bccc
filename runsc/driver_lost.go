package runsc

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/troupe-run/troupe/messages"
)

// How often, and how long after each other, an exec whose answer was lost is
// looked for.
const (
	lostLooks = 10
	lostPause = 20 * time.Millisecond
)

// findLost looks for the process of an exec whose answer was lost, because that
// can not be asked for again: it may run. It does so only if it can be no other
// than the one that is there and that nobody knows; then it goes on as if the
// answer had come. Otherwise the error is why.
func (p *process) findLost(ctx context.Context, l messages.Launch, why error) (int, error) {
	for range lostLooks {
		if p.init.sandbox.isGone() || ctx.Err() != nil {
			break
		}
		list, err := p.client.Processes(ctx, p.init.init.Container)
		if err != nil {
			break
		}
		known, alone := p.init.driver.knownGuests(p)
		if !alone {
			break
		}
		if found := strays(list, commandName(l.Spec.Args[0]), known); len(found) == 1 {
			p.init.driver.log.Warn("the answer to an exec was lost, and its process found", "process", p.self.String(), "guestPID", found[0], "error", why)
			return found[0], nil
		}
		pauseFor(ctx, lostPause)
	}
	return 0, why
}

// knownGuests are the pids of the container's execs. alone is false if another
// exec is being started: what is found could be its process.
func (d *Driver) knownGuests(of *process) (pids []int, alone bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	alone = true
	for _, e := range d.execs {
		switch {
		case e.init != of.init || e == of:
		case e.guest == 0:
			alone = false
		default:
			pids = append(pids, e.guest)
		}
	}
	return pids, alone
}

// strays are the pids of processes that came from outside the sandbox, that is,
// have no parent in it, and are neither the container's init, which is the first
// of them, nor known.
func strays(list []guestProcess, name string, known []int) (pids []int) {
	init := true
	for _, g := range list {
		if g.PPID != 0 {
			continue
		}
		if !init && g.Cmd == name && !slices.Contains(known, int(g.PID)) {
			pids = append(pids, int(g.PID))
		}
		init = false
	}
	return pids
}

// commandName is what the sandbox calls a process: the file's name, cut off as
// in prctl(2), PR_SET_NAME.
func commandName(arg string) string {
	name := filepath.Base(arg)
	return name[:min(len(name), 15)]
}
