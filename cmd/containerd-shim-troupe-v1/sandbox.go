package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	sandboxapi "github.com/containerd/containerd/api/runtime/sandbox/v1"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/troupe-run/troupe/messages"
)

// sandboxService is containerd's sandbox API ("sandboxer = shim"): the daemon
// asks for a sandbox, where otherwise it runs a pause container as a task. In
// gVisor a sandbox has a root container either way; here it is ours.
type sandboxService struct {
	*shim
	state *sandboxState
}

var _ sandboxapi.TTRPCSandboxService = sandboxService{}

// sandboxState is the sandbox of this shim; a shim has at most one.
type sandboxState struct {
	mu      sync.Mutex
	id      messages.ContainerID
	created time.Time
}

// get is the sandbox's root container, if id names it.
func (s *sandboxState) get(id, verb string) (messages.ContainerID, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.id == "" || string(s.id) != id {
		return "", time.Time{}, &messages.Error{Kind: messages.NotFound, Op: verb, Sandbox: messages.SandboxID(id), Err: errors.New("there is no such sandbox")}
	}
	return s.id, s.created, nil
}

func (s *sandboxState) is(c messages.ContainerID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id != "" && s.id == c
}

// take makes id the sandbox; false if there is one.
func (s *sandboxState) take(id messages.ContainerID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.id != "" {
		return false
	}
	s.id, s.created = id, time.Now()
	return true
}

func (s *sandboxState) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id = ""
}

func (s *sandboxState) open() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id != ""
}

func (s sandboxService) CreateSandbox(ctx context.Context, r *sandboxapi.CreateSandboxRequest) (*sandboxapi.CreateSandboxResponse, error) {
	id := messages.ContainerID(r.SandboxID)
	if !s.state.take(id) {
		return nil, &messages.Error{Kind: messages.AlreadyExists, Op: "create", Sandbox: messages.SandboxID(id), Err: errors.New("this shim has a sandbox")}
	}
	if err := s.createRoot(ctx, id, r); err != nil {
		s.state.drop()
		return nil, err
	}
	return &sandboxapi.CreateSandboxResponse{}, nil
}

// createRoot makes the sandbox's root container. The runtime's options are not
// in the request, whose options are the client's: "start" has kept them.
func (s sandboxService) createRoot(ctx context.Context, id messages.ContainerID, r *sandboxapi.CreateSandboxRequest) error {
	o, err := s.bootOptions()
	if err != nil {
		return err
	}
	s.log.configure(o, r.SandboxID, s.inv.debug)
	for _, w := range o.warnings {
		s.log.Warn(w, "sandbox", r.SandboxID)
	}
	// A client may bring a spec and a root file system.
	_, err = os.Stat(filepath.Join(r.BundlePath, "config.json"))
	if errors.Is(err, os.ErrNotExist) {
		err = writePauseBundle(r)
	}
	if err != nil {
		return &messages.Error{Kind: messages.InvalidArgument, Op: "make the bundle of", Sandbox: messages.SandboxID(id), Err: err}
	}
	spec, err := readSpec(r.BundlePath)
	if err != nil {
		return err
	}
	if err := prepareSpec(spec, "", s.log.Logger); err != nil {
		return err
	}
	_, err = s.create(ctx, o, spec, messages.Create{
		Container: id,
		Bundle:    r.BundlePath,
		Rootfs:    mountsFromWire(r.Rootfs),
	})
	return err
}

func (s sandboxService) StartSandbox(ctx context.Context, r *sandboxapi.StartSandboxRequest) (*sandboxapi.StartSandboxResponse, error) {
	id, created, err := s.state.get(r.SandboxID, "start")
	if err != nil {
		return nil, err
	}
	started, err := ask(ctx, s.shim, messages.Start{Process: messages.Init(id)})
	if err != nil {
		return nil, err
	}
	return &sandboxapi.StartSandboxResponse{
		Pid:       s.ledger.pid(messages.Init(id), started.PIDs),
		CreatedAt: timestamppb.New(created),
	}, nil
}

func (s sandboxService) Platform(context.Context, *sandboxapi.PlatformRequest) (*sandboxapi.PlatformResponse, error) {
	return &sandboxapi.PlatformResponse{Platform: &types.Platform{OS: "linux", Architecture: goruntime.GOARCH}}, nil
}

// StopSandbox kills the root container, and with it every process of the pod,
// and waits for the end. A sandbox that is gone is stopped.
func (s sandboxService) StopSandbox(ctx context.Context, r *sandboxapi.StopSandboxRequest) (*sandboxapi.StopSandboxResponse, error) {
	id, _, err := s.state.get(r.SandboxID, "stop")
	if err != nil {
		return nil, err
	}
	if r.TimeoutSecs > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(r.TimeoutSecs)*time.Second)
		defer cancel()
	}
	init := messages.Init(id)
	_, err = ask(ctx, s.shim, messages.Kill{Process: init, Signal: syscall.SIGKILL, All: true})
	if err != nil && !errors.Is(err, messages.NotFound) && !errors.Is(err, messages.FailedPrecondition) {
		return nil, err
	}
	if _, err := ask(ctx, s.shim, messages.Wait{Process: init}); err != nil && !errors.Is(err, messages.FailedPrecondition) {
		return nil, err
	}
	return &sandboxapi.StopSandboxResponse{}, nil
}

func (s sandboxService) WaitSandbox(ctx context.Context, r *sandboxapi.WaitSandboxRequest) (*sandboxapi.WaitSandboxResponse, error) {
	id, _, err := s.state.get(r.SandboxID, "wait")
	if err != nil {
		return nil, err
	}
	exited, err := ask(ctx, s.shim, messages.Wait{Process: messages.Init(id)})
	if err != nil {
		return nil, err
	}
	return &sandboxapi.WaitSandboxResponse{ExitStatus: uint32(exited.Exit.Status), ExitedAt: timestamp(exited.Exit.At)}, nil
}

// States of a sandbox, as CRI writes them (PodSandboxState).
const (
	sandboxReady    = "SANDBOX_READY"
	sandboxNotReady = "SANDBOX_NOTREADY"
)

func (s sandboxService) SandboxStatus(ctx context.Context, r *sandboxapi.SandboxStatusRequest) (*sandboxapi.SandboxStatusResponse, error) {
	id, created, err := s.state.get(r.SandboxID, "status")
	if err != nil {
		return nil, err
	}
	state, err := ask(ctx, s.shim, messages.State{Process: messages.Init(id)})
	if err != nil {
		return nil, err
	}
	response := &sandboxapi.SandboxStatusResponse{
		SandboxID: r.SandboxID,
		Pid:       s.ledger.pid(messages.Init(id), state.PIDs),
		State:     sandboxNotReady,
		CreatedAt: timestamppb.New(created),
	}
	switch state.Status {
	case messages.StatusRunning, messages.StatusPaused:
		response.State = sandboxReady
	case messages.StatusStopped:
		_, response.ExitedAt = wireExit(state.Exit)
	}
	if r.Verbose {
		response.Info = map[string]string{
			"status":  string(state.Status),
			"bundle":  state.Bundle,
			"shimPid": strconv.Itoa(os.Getpid()),
		}
	}
	return response, nil
}

// PingSandbox succeeds while the sandbox runs.
func (s sandboxService) PingSandbox(ctx context.Context, r *sandboxapi.PingRequest) (*sandboxapi.PingResponse, error) {
	id, _, err := s.state.get(r.SandboxID, "ping")
	if err != nil {
		return nil, err
	}
	state, err := ask(ctx, s.shim, messages.State{Process: messages.Init(id)})
	if err != nil {
		return nil, err
	}
	if state.Status == messages.StatusStopped {
		return nil, &messages.Error{Kind: messages.FailedPrecondition, Op: "ping", Sandbox: messages.SandboxID(id), Err: errors.New("it has stopped")}
	}
	return &sandboxapi.PingResponse{}, nil
}

// ShutdownSandbox releases the sandbox and ends the shim.
func (s sandboxService) ShutdownSandbox(ctx context.Context, r *sandboxapi.ShutdownSandboxRequest) (*sandboxapi.ShutdownSandboxResponse, error) {
	// Also without a sandbox: containerd calls it when Create failed.
	s.state.drop()
	return &sandboxapi.ShutdownSandboxResponse{}, s.shutdown(ctx, true)
}

func (s sandboxService) SandboxMetrics(ctx context.Context, r *sandboxapi.SandboxMetricsRequest) (*sandboxapi.SandboxMetricsResponse, error) {
	id, _, err := s.state.get(r.SandboxID, "stats")
	if err != nil {
		return nil, err
	}
	data, err := s.measure(ctx, id)
	if err != nil {
		return nil, err
	}
	return &sandboxapi.SandboxMetricsResponse{Metrics: &types.Metric{Timestamp: timestamppb.Now(), ID: r.SandboxID, Data: data}}, nil
}

// UpdateSandbox is optional in containerd's API, and a running sandbox has
// nothing that it could change.
func (s sandboxService) UpdateSandbox(context.Context, *sandboxapi.UpdateSandboxRequest) (*sandboxapi.UpdateSandboxResponse, error) {
	return nil, &messages.Error{Kind: messages.Unimplemented, Op: "UpdateSandbox", Hint: "update its containers"}
}
