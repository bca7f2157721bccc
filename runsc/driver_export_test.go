package runsc

import (
	"context"
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// ForgetCodes makes the driver one of a kernel that keeps no exit codes.
func (d *Driver) ForgetCodes() {
	d.codes = func(*pidfd) exitCode { return exitCode{unknown: errors.New("the kernel has forgotten it")} }
	d.waits = true
}

// HoldCodes keeps the driver from seeing that a sandbox is gone until letGo is
// called.
func (d *Driver) HoldCodes() (letGo func()) {
	held := make(chan struct{})
	codes := d.codes
	d.codes = func(p *pidfd) exitCode {
		<-held
		return codes(p)
	}
	return sync.OnceFunc(func() { close(held) })
}

// RefuseToDial makes every connection to a sandbox fail with err, and counts.
func (d *Driver) RefuseToDial(err error) *Dials {
	n := &Dials{}
	d.dial = func(context.Context, string, string, controlOptions) (*controlClient, error) {
		n.add()
		return nil, err
	}
	return n
}

// CountDials counts the connections that are made to find out about a sandbox.
func (d *Driver) CountDials() *Dials {
	n := &Dials{}
	d.dial = func(ctx context.Context, root, container string, o controlOptions) (*controlClient, error) {
		n.add()
		return dialSandbox(ctx, root, container, o)
	}
	return n
}

// Dials is a count.
type Dials struct {
	mu sync.Mutex
	n  int
}

func (d *Dials) add() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.n++
}

// Count is how many there were.
func (d *Dials) Count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n
}

// ProxyControl puts p between the driver and its sandboxes.
func (d *Driver) ProxyControl(p *ControlProxy) {
	d.dial = func(ctx context.Context, root, container string, o controlOptions) (*controlClient, error) {
		c, err := dialSandbox(ctx, root, container, o)
		if err != nil {
			return nil, err
		}
		fd, err := unix.Open(p.path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		p.serve(c.socket)
		c.socket = os.NewFile(uintptr(fd), p.path)
		return c, nil
	}
}
