package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

// stateRoot has a folder for each shim that runs.
const stateRoot = "/run/containerd/troupe"

// shim is one running shim: the actors of a group of containers, and the way to
// the daemon.
type shim struct {
	inv invocation
	// bundle is that of the container that the shim was started for.
	bundle    string
	socket    string
	log       *shimLog
	ledger    *ledger
	publisher *publisher
	sandbox   *sandboxState
	streams   *streamSet

	mu      sync.Mutex
	runtime *actors.Runtime
	driver  *runsc.Driver
	saved   savedState
	// forwarded is closed when the last event of runtime is with publisher.
	forwarded chan struct{}

	stopOnce sync.Once
	stopped  chan struct{}
}

// ask sends a command to the actors. Before the first container and after the
// last there are none, and nothing that could be found.
func ask[R messages.Reply](ctx context.Context, s *shim, cmd messages.Command[R]) (R, error) {
	rt := s.actors()
	select {
	case <-s.stopped:
		// The shim only waits for its clients to leave. It has ended because it
		// had no container, and containerd goes on after NotFound where any
		// other error would stop it.
		rt = nil
	default:
	}
	if rt == nil {
		var none R
		return none, &messages.Error{Kind: messages.NotFound, Op: cmd.Verb(), Process: cmd.Target(), Err: errors.New("there is no such container")}
	}
	return actors.Ask(ctx, rt, cmd)
}

func (s *shim) actors() *actors.Runtime {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runtime
}

// open makes the actors when the first container comes: its options say which
// runsc they drive. Containers that join later are driven by the same, whatever
// their options say by then (the file may have been edited meanwhile).
func (s *shim) open(o options, spec *bundleSpec) (savedState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runtime != nil {
		return s.saved, nil
	}
	ro, saved := s.runscOptions(o, spec)
	driver, err := runsc.New(ro)
	if err != nil {
		return savedState{}, err
	}
	rt, err := actors.New(actors.Options{Driver: driver, Logger: s.log.Logger})
	if err != nil {
		driver.Close()
		return savedState{}, err
	}
	s.runtime, s.driver, s.saved = rt, driver, saved
	s.forwarded = make(chan struct{})
	go s.forward(rt.Subscribe(maxQueued), s.forwarded)
	return saved, nil
}

// runscOptions translates the shim's configuration into the driver's.
func (s *shim) runscOptions(o options, spec *bundleSpec) (runsc.Options, savedState) {
	root := o.Root
	if root == "" {
		root = defaultRunscRoot
	}
	ro := runsc.Options{
		Path:       o.BinaryName,
		Root:       filepath.Join(root, s.inv.namespace),
		PanicLog:   spec.panicLog(),
		Config:     map[string]string{},
		StateDir:   stateDir(s.socket),
		Subreaper:  true,
		ExecDriver: o.ExecDriver,
		Namespace:  s.inv.namespace,
		UID:        int(o.IoUID),
		GID:        int(o.IoGID),
		Logger:     s.log.Logger,
	}
	for name, value := range o.RunscConfig {
		// Flags that the driver has a field for.
		switch name {
		case "platform":
			ro.Platform = value
		case "network":
			ro.Network = value
		case "debug":
			ro.Debug = value == "true" || value == "1"
		case "debug-log":
			ro.DebugLog = value
		case "panic-log":
			ro.PanicLog = value
		case "log":
			ro.Log = value
		case "log-format":
			ro.LogFormat = value
		case "root":
			ro.Root = filepath.Join(value, s.inv.namespace)
		default:
			ro.Config[name] = value
		}
	}
	return ro, savedState{Root: ro.Root, Path: ro.Path, Config: ro.Config, Grouped: o.grouped(), Socket: s.socket, StateDir: ro.StateDir}
}

// stateDir is a folder of this shim's own, so that all of it can be removed
// when the shim is gone. It is short, since the driver's sockets are in it.
func stateDir(socket string) string {
	name := filepath.Base(socket)
	return filepath.Join(stateRoot, fmt.Sprintf("%.12s-%d", name, os.Getpid()))
}

// forward turns the actors' events into containerd's, until the actors end.
// What "delete" must know is on disk before containerd can know it: the shim
// may be killed in between.
func (s *shim) forward(sub *actors.Subscription, done chan<- struct{}) {
	defer close(done)
	for event := range sub.Events() {
		switch e := event.(type) {
		case messages.ContainerCreated:
			s.ledger.change(e.Container, func(l *entry) { l.bundle, l.pid = e.Bundle, e.PIDs.Host })
			e.Stdio = s.streams.named(e.Stdio)
			event = e
		case messages.ProcessExited:
			s.recordExit(e)
		case messages.EventsDropped:
			s.log.Error("events are lost: they came faster than they could be queued", "lost", e.Count)
		}
		// A sandbox of the sandbox API is no task, and its root container none.
		if topic, message := s.ledger.topicOf(event); topic != "" && !s.sandbox.is(event.Subject().Container) {
			s.publisher.put(topic, message)
		}
		if e, ok := event.(messages.ProcessDeleted); ok && e.Process.IsInit() {
			s.ledger.remove(e.Process.Container)
		}
	}
}

func (s *shim) recordExit(e messages.ProcessExited) {
	if !e.Process.IsInit() {
		return
	}
	bundle := s.ledger.get(e.Process.Container).bundle
	if bundle == "" {
		return
	}
	saved := savedExit{PID: s.ledger.pid(e.Process, e.PIDs), Status: e.Exit.Status, At: e.Exit.At}
	if err := writeJSON(bundle, exitFile, saved); err != nil {
		s.log.Warn("the exit is not recorded; after a crash of this shim it is told as killed", "container", e.Process.Container, "error", err)
	}
}

// stop ends the shim once its last call is answered.
func (s *shim) stop() { s.stopOnce.Do(func() { close(s.stopped) }) }
