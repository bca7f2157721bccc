package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	goruntime "runtime"
	"syscall"
	"time"

	sandboxapi "github.com/containerd/containerd/api/runtime/sandbox/v1"
	"github.com/containerd/ttrpc"
)

const (
	// inheritedSocket is the descriptor of the socket that "start" hands over.
	inheritedSocket = 3
	// flushTimeout bounds how long the end waits for containerd to take the
	// last events; it has just called Shutdown, so it is there.
	flushTimeout = 10 * time.Second
	// answerTimeout bounds how long the end waits for clients that have their
	// last answer, that to Shutdown, to close their connections.
	answerTimeout = time.Second
	// closeTimeout bounds how long the end waits for other calls in flight.
	closeTimeout = 3 * time.Second
)

// serve is the shim: it answers until its last container is deleted and
// containerd calls Shutdown, or until a signal ends it.
func serve(inv invocation) error {
	bundle, err := inv.bundlePath()
	if err != nil {
		return err
	}
	l, err := listener(inv.socket)
	if err != nil {
		return err
	}
	log := openLog(bundle, inv.debug)
	// A log FIFO whose reader is gone must not end the shim.
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1)

	s := &shim{
		inv:       inv,
		bundle:    bundle,
		socket:    l.Addr().String(),
		log:       log,
		ledger:    newLedger(),
		sandbox:   &sandboxState{},
		streams:   newStreamSet(l.Addr().String()),
		publisher: newPublisher(inv.namespace, newSink(os.Getenv("TTRPC_ADDRESS"), inv.address, inv.publishBinary), log.Logger),
		stopped:   make(chan struct{}),
	}
	clients := newConnections()
	idle := newIdleWatch()
	defer idle.stop()
	server, err := ttrpc.NewServer(
		ttrpc.WithServerHandshaker(clients),
		ttrpc.WithUnaryServerInterceptor(intercept(log.Logger, idle)),
	)
	if err != nil {
		return fmt.Errorf("make the server: %w", err)
	}
	registerTask(server, taskService{s})
	sandboxapi.RegisterTTRPCSandboxService(server, sandboxService{s, s.sandbox})
	registerStreaming(server, s.streams)

	served := make(chan error, 1)
	go func() { served <- server.Serve(context.Background(), l) }()
	log.Info("the shim serves", "id", inv.id, "pid", os.Getpid(), "socket", s.socket)

	err = s.untilStopped(signals, served)
	os.Remove(s.socket)
	s.end(server, clients)
	return err
}

// listener is the socket at path, or the one that "start" handed over.
func listener(path string) (net.Listener, error) {
	if path != "" {
		return listen(path)
	}
	f := os.NewFile(inheritedSocket, "socket")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("there is no socket at descriptor %d: containerd runs this program with \"start\" (%w)", inheritedSocket, err)
	}
	return l, nil
}

func (s *shim) untilStopped(signals <-chan os.Signal, served <-chan error) error {
	for {
		select {
		case <-s.stopped:
			return nil
		case err := <-served:
			if errors.Is(err, ttrpc.ErrServerClosed) {
				return nil
			}
			return fmt.Errorf("serve %s: %w", s.socket, err)
		case sig := <-signals:
			if sig == syscall.SIGUSR1 {
				s.log.Info("stacks of all goroutines", "stacks", string(stacks()))
				continue
			}
			// The containers live on: containerd, seeing the shim gone, runs
			// "delete" for each.
			s.log.Warn("the shim ends by a signal and leaves its containers to containerd", "signal", sig.String())
			return nil
		}
	}
}

// end closes in the order in which things depend on each other: events come
// from the actors, and go out while calls are still answered.
func (s *shim) end(server *ttrpc.Server, clients *connections) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	s.mu.Lock()
	rt, driver, forwarded := s.runtime, s.driver, s.forwarded
	s.mu.Unlock()
	asked := false // by Shutdown, and not by a signal
	select {
	case <-s.stopped:
		asked = true
		if rt != nil {
			if err := rt.Shutdown(ctx); err != nil {
				s.log.Error("the actors did not end", "error", err)
			}
			<-forwarded
		}
		os.RemoveAll(stateDir(s.socket))
	default:
		// The containers stay: only what the driver holds is closed.
		if driver != nil {
			driver.Close()
		}
	}
	s.streams.close()
	s.publisher.close(ctx)
	if asked {
		answered, cancelAnswered := context.WithTimeout(context.Background(), answerTimeout)
		defer cancelAnswered()
		clients.wait(answered)
	}
	closing, cancelClosing := context.WithTimeout(context.Background(), closeTimeout)
	defer cancelClosing()
	if err := server.Shutdown(closing); err != nil {
		server.Close()
	}
	s.log.Info("the shim ends", "id", s.inv.id, "pid", os.Getpid())
}

// stacks are those of all goroutines.
func stacks() []byte {
	for size := 64 << 10; ; size *= 2 {
		buf := make([]byte, size)
		if n := goruntime.Stack(buf, true); n < size {
			return buf[:n]
		}
	}
}
