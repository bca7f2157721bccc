package main

import (
	"context"
	"net"
	"sync"

	"github.com/containerd/ttrpc"
)

// connections counts those of the shim's clients.
//
// ttrpc's own Shutdown closes a connection as idle whose first call is still
// being answered (server.go, run: the state changes with the answer only).
// containerd would take the lost answer to ShutdownSandbox for a pod that can
// not be removed. A client that has its last answer closes the connection: that
// is what is waited for.
type connections struct {
	mu   sync.Mutex
	open int
	// idle is closed when there are none, and made anew with the next.
	idle chan struct{}
}

var _ ttrpc.Handshaker = (*connections)(nil)

func newConnections() *connections {
	c := &connections{idle: make(chan struct{})}
	close(c.idle)
	return c
}

// Handshake admits clients of the shim's own user, and counts them.
func (c *connections) Handshake(ctx context.Context, conn net.Conn) (net.Conn, any, error) {
	conn, info, err := ttrpc.UnixSocketRequireSameUser().Handshake(ctx, conn)
	if err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == 0 {
		c.idle = make(chan struct{})
	}
	c.open++
	return &connection{Conn: conn, closed: sync.OnceFunc(c.closed)}, info, nil
}

func (c *connections) closed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open--; c.open == 0 {
		close(c.idle)
	}
}

// wait returns when no client is connected, or ctx ends.
func (c *connections) wait(ctx context.Context) {
	c.mu.Lock()
	idle := c.idle
	c.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

type connection struct {
	net.Conn
	closed func()
}

func (c *connection) Close() error {
	defer c.closed()
	return c.Conn.Close()
}
