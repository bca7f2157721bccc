package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"syscall"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	tasktypes "github.com/containerd/containerd/api/types/task"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/troupe-run/troupe/messages"
)

// taskService is containerd's task service, versions 2 and 3.
type taskService struct{ *shim }

var _ taskapi.TTRPCTaskService = taskService{}

// process names the process of a request: an init has no exec id.
func process(id, exec string) messages.Process {
	return messages.Process{Container: messages.ContainerID(id), Exec: messages.ExecID(exec)}
}

var empty = &emptypb.Empty{}

func (s taskService) Create(ctx context.Context, r *taskapi.CreateTaskRequest) (*taskapi.CreateTaskResponse, error) {
	o, err := readOptions(r.Options)
	if err != nil {
		return nil, err
	}
	s.log.configure(o, r.ID, s.inv.debug)
	for _, w := range o.warnings {
		s.log.Warn(w, "container", r.ID)
	}
	spec, err := readSpec(r.Bundle)
	if err != nil {
		return nil, err
	}
	shm := ""
	if root := messages.ContainerID(spec.sandbox()); s.sandbox.is(root) {
		shm = shmSource(s.ledger.get(root).bundle)
	}
	if err := prepareSpec(spec, shm, s.log.Logger); err != nil {
		return nil, err
	}
	created, err := s.create(ctx, o, spec, messages.Create{
		Container: messages.ContainerID(r.ID),
		Sandbox:   spec.sandbox(),
		Bundle:    r.Bundle,
		Rootfs:    mountsFromWire(r.Rootfs),
		Stdio: messages.Stdio{
			Stdin:    r.Stdin,
			Stdout:   r.Stdout,
			Stderr:   stderrOf(r.Stderr, r.Terminal),
			Terminal: r.Terminal,
		},
		RestoreFrom: r.Checkpoint,
		UserLog:     spec.userLog(),
	})
	if err != nil {
		return nil, err
	}
	return &taskapi.CreateTaskResponse{Pid: uint32(created.PIDs.Host)}, nil
}

// create makes a container of a task or of a sandbox. What "delete" would need
// is on disk before anything is made.
func (s *shim) create(ctx context.Context, o options, spec *bundleSpec, c messages.Create) (messages.Created, error) {
	saved, err := s.open(o, spec)
	if err != nil {
		return messages.Created{}, err
	}
	if err := writeJSON(c.Bundle, stateFile, saved); err != nil {
		return messages.Created{}, &messages.Error{Kind: messages.Internal, Op: "create", Process: c.Target(), Err: err}
	}
	if c.Stdio, err = s.streams.place(saved.StateDir, c.Stdio); err != nil {
		return messages.Created{}, err
	}
	created, err := ask(ctx, s, c)
	if err != nil {
		s.streams.remove(c.Stdio)
		return messages.Created{}, err
	}
	s.ledger.change(c.Container, func(e *entry) { e.bundle, e.pid = c.Bundle, created.PIDs.Host })
	return created, nil
}

// stderrOf leaves out the stderr that a client may name beside a terminal,
// which has one stream.
func stderrOf(stderr string, terminal bool) string {
	if terminal {
		return ""
	}
	return stderr
}

func (s taskService) Exec(ctx context.Context, r *taskapi.ExecProcessRequest) (*emptypb.Empty, error) {
	p := process(r.ID, r.ExecID)
	if r.ExecID == "" {
		return nil, &messages.Error{Kind: messages.InvalidArgument, Op: "exec", Process: p, Err: errors.New("there is no exec id")}
	}
	var spec specs.Process
	if err := json.Unmarshal(r.Spec.GetValue(), &spec); err != nil {
		return nil, &messages.Error{Kind: messages.InvalidArgument, Op: "read the process spec of", Process: p, Err: err}
	}
	spec.Terminal = r.Terminal
	stdio := messages.Stdio{
		Stdin:    r.Stdin,
		Stdout:   r.Stdout,
		Stderr:   stderrOf(r.Stderr, r.Terminal),
		Terminal: r.Terminal,
	}
	if size := spec.ConsoleSize; size != nil {
		stdio.Size = messages.WindowSize{Cols: uint16(size.Width), Rows: uint16(size.Height)}
	}
	stdio, err := s.streams.place(stateDir(s.socket), stdio)
	if err != nil {
		return nil, err
	}
	if _, err := ask(ctx, s.shim, messages.Exec{Process: p, Spec: messages.ExecSpec{Process: spec}, Stdio: stdio}); err != nil {
		s.streams.remove(stdio)
		return nil, err
	}
	return empty, nil
}

func (s taskService) Start(ctx context.Context, r *taskapi.StartRequest) (*taskapi.StartResponse, error) {
	p := process(r.ID, r.ExecID)
	started, err := ask(ctx, s.shim, messages.Start{Process: p})
	if err != nil {
		return nil, err
	}
	return &taskapi.StartResponse{Pid: s.ledger.pid(p, started.PIDs)}, nil
}

func (s taskService) Delete(ctx context.Context, r *taskapi.DeleteRequest) (*taskapi.DeleteResponse, error) {
	p := process(r.ID, r.ExecID)
	// Pid and streams are asked for first: with the container they go.
	sandboxPID := s.ledger.get(p.Container).pid
	stdio := messages.Stdio{}
	if state, err := ask(ctx, s.shim, messages.State{Process: p}); err == nil {
		stdio = state.Stdio
	}
	deleted, err := ask(ctx, s.shim, messages.Delete{Process: p})
	if err != nil {
		return nil, err
	}
	s.streams.remove(stdio)
	response := &taskapi.DeleteResponse{Pid: uint32(deleted.PIDs.Host)}
	if response.Pid == 0 {
		response.Pid = uint32(sandboxPID)
	}
	response.ExitStatus, response.ExitedAt = wireExit(deleted.Exit)
	return response, nil
}

func (s taskService) State(ctx context.Context, r *taskapi.StateRequest) (*taskapi.StateResponse, error) {
	p := process(r.ID, r.ExecID)
	state, err := ask(ctx, s.shim, messages.State{Process: p})
	if err != nil {
		return nil, err
	}
	stdio := s.streams.named(state.Stdio)
	response := &taskapi.StateResponse{
		ID:       processID(p),
		ExecID:   r.ExecID,
		Bundle:   state.Bundle,
		Pid:      s.ledger.pid(p, state.PIDs),
		Status:   wireStatus(state.Status),
		Stdin:    stdio.Stdin,
		Stdout:   stdio.Stdout,
		Stderr:   stdio.Stderr,
		Terminal: stdio.Terminal,
	}
	if state.Status == messages.StatusStopped {
		response.ExitStatus, response.ExitedAt = wireExit(state.Exit)
	}
	return response, nil
}

func wireStatus(s messages.Status) tasktypes.Status {
	switch s {
	case messages.StatusCreated:
		return tasktypes.Status_CREATED
	case messages.StatusRunning:
		return tasktypes.Status_RUNNING
	case messages.StatusPaused:
		return tasktypes.Status_PAUSED
	case messages.StatusStopped:
		return tasktypes.Status_STOPPED
	}
	return tasktypes.Status_UNKNOWN
}

func (s taskService) Pids(ctx context.Context, r *taskapi.PidsRequest) (*taskapi.PidsResponse, error) {
	container := messages.ContainerID(r.ID)
	list, err := ask(ctx, s.shim, messages.Pids{Container: container})
	if err != nil {
		return nil, err
	}
	response := &taskapi.PidsResponse{}
	for _, p := range list.Processes {
		info := &tasktypes.ProcessInfo{Pid: s.ledger.pid(p.Process, p.PIDs)}
		if !p.Process.IsInit() {
			if info.Info, err = asAny(&runcoptions.ProcessDetails{ExecID: string(p.Process.Exec)}); err != nil {
				return nil, err
			}
		}
		response.Processes = append(response.Processes, info)
	}
	if len(response.Processes) == 0 {
		// A container that is stopped and not deleted is told by its init's pid,
		// as a zombie is. A containerd that comes back deletes a task without
		// pids (core/runtime/v2, shouldCleanupShim), and with it the exit that
		// nobody has asked for yet.
		response.Processes = []*tasktypes.ProcessInfo{{Pid: s.ledger.pid(messages.Init(container), messages.PIDs{})}}
	}
	return response, nil
}

func (s taskService) Pause(ctx context.Context, r *taskapi.PauseRequest) (*emptypb.Empty, error) {
	_, err := ask(ctx, s.shim, messages.Pause{Container: messages.ContainerID(r.ID)})
	return empty, err
}

func (s taskService) Resume(ctx context.Context, r *taskapi.ResumeRequest) (*emptypb.Empty, error) {
	_, err := ask(ctx, s.shim, messages.Resume{Container: messages.ContainerID(r.ID)})
	return empty, err
}

func (s taskService) Checkpoint(ctx context.Context, r *taskapi.CheckpointTaskRequest) (*emptypb.Empty, error) {
	o, err := readCheckpointOptions(r.Options)
	if err != nil {
		return nil, err
	}
	path := r.Path
	if o.imagePath != "" {
		path = o.imagePath
	}
	_, err = ask(ctx, s.shim, messages.Checkpoint{
		Container:    messages.ContainerID(r.ID),
		ImagePath:    path,
		LeaveRunning: !o.exit,
	})
	return empty, err
}

func (s taskService) Kill(ctx context.Context, r *taskapi.KillRequest) (*emptypb.Empty, error) {
	_, err := ask(ctx, s.shim, messages.Kill{
		Process: process(r.ID, r.ExecID),
		Signal:  syscall.Signal(r.Signal),
		// An exec has no processes of its own to kill; runc's shim takes no
		// notice of All there either.
		All: r.All && r.ExecID == "",
	})
	return empty, err
}

func (s taskService) ResizePty(ctx context.Context, r *taskapi.ResizePtyRequest) (*emptypb.Empty, error) {
	_, err := ask(ctx, s.shim, messages.Resize{
		Process: process(r.ID, r.ExecID),
		Size:    messages.WindowSize{Cols: uint16(r.Width), Rows: uint16(r.Height)},
	})
	return empty, err
}

func (s taskService) CloseIO(ctx context.Context, r *taskapi.CloseIORequest) (*emptypb.Empty, error) {
	if !r.Stdin {
		return empty, nil
	}
	_, err := ask(ctx, s.shim, messages.CloseIO{Process: process(r.ID, r.ExecID)})
	return empty, err
}

func (s taskService) Update(ctx context.Context, r *taskapi.UpdateTaskRequest) (*emptypb.Empty, error) {
	c := messages.Update{Container: messages.ContainerID(r.ID)}
	if name := typeName(r.Resources.GetTypeUrl()); name != "" && !strings.HasSuffix(name, "LinuxResources") {
		return nil, &messages.Error{Kind: messages.InvalidArgument, Op: "update", Process: c.Target(), Err: errors.New("resources of type " + name + " are not for Linux")}
	}
	if len(r.Resources.GetValue()) > 0 {
		c.Resources = &messages.Resources{}
		if err := json.Unmarshal(r.Resources.Value, c.Resources); err != nil {
			return nil, &messages.Error{Kind: messages.InvalidArgument, Op: "read the resources to update", Process: c.Target(), Err: err}
		}
	}
	_, err := ask(ctx, s.shim, c)
	return empty, err
}

func (s taskService) Wait(ctx context.Context, r *taskapi.WaitRequest) (*taskapi.WaitResponse, error) {
	exited, err := ask(ctx, s.shim, messages.Wait{Process: process(r.ID, r.ExecID)})
	if err != nil {
		return nil, err
	}
	return &taskapi.WaitResponse{ExitStatus: uint32(exited.Exit.Status), ExitedAt: timestamp(exited.Exit.At)}, nil
}

func (s taskService) Stats(ctx context.Context, r *taskapi.StatsRequest) (*taskapi.StatsResponse, error) {
	m, err := s.measure(ctx, messages.ContainerID(r.ID))
	if err != nil {
		return nil, err
	}
	return &taskapi.StatsResponse{Stats: m}, nil
}

// measure asks what a container uses. Of one that is stopped it tells what it
// used when it was last asked, and nothing if it never was.
func (s *shim) measure(ctx context.Context, c messages.ContainerID) (*anypb.Any, error) {
	measured, err := ask(ctx, s, messages.Stats{Container: c})
	if err == nil {
		s.ledger.change(c, func(e *entry) { e.usage = measured.Usage })
		return metrics(measured.Usage, unifiedCgroups())
	}
	state, stateErr := ask(ctx, s, messages.State{Process: messages.Init(c)})
	if stateErr != nil || state.Status != messages.StatusStopped {
		return nil, err
	}
	last := s.ledger.get(c).usage
	// What it used stays used; what it held is free.
	last.Memory.Current, last.Memory.Cache, last.PIDs.Current = 0, 0, 0
	return metrics(last, unifiedCgroups())
}

// Connect tells the pids behind a container. As in containerd's runc shim it
// succeeds without one: containerd asks it to see whether a shim lives.
func (s taskService) Connect(ctx context.Context, r *taskapi.ConnectRequest) (*taskapi.ConnectResponse, error) {
	release, _, _ := version()
	response := &taskapi.ConnectResponse{ShimPid: uint32(os.Getpid()), Version: release}
	connected, err := ask(ctx, s.shim, messages.Connect{Container: messages.ContainerID(r.ID)})
	if err != nil {
		if errors.Is(err, messages.NotFound) {
			return response, nil
		}
		return nil, err
	}
	response.TaskPid = uint32(connected.PIDs.Host)
	return response, nil
}

// Shutdown ends the shim unless it has containers. containerd calls it after
// each container that it deletes and expects no error of one that stays.
func (s taskService) Shutdown(ctx context.Context, r *taskapi.ShutdownRequest) (*emptypb.Empty, error) {
	if s.sandbox.open() && !r.Now {
		return empty, nil
	}
	return empty, s.shutdown(ctx, r.Now)
}

func (s *shim) shutdown(ctx context.Context, now bool) error {
	_, err := ask(ctx, s, messages.Shutdown{Now: now})
	switch {
	case err == nil:
	case errors.Is(err, messages.FailedPrecondition):
		return nil
	case errors.Is(err, messages.NotFound):
		// There has never been a container, or the shim has been told before.
	default:
		return err
	}
	// From here on "start" must not find this shim.
	os.Remove(s.socket)
	s.stop()
	return nil
}
