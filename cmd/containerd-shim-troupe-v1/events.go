package main

import (
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/troupe-run/troupe/messages"
)

// topicOf turns an event into containerd's topic and message (core/runtime/
// events.go); an empty topic for one that containerd has no word for.
//
// The deletion of an exec is not told: containerd's TaskDelete is for a whole
// task, as its runc shim has it.
func (l *ledger) topicOf(event messages.Event) (topic string, message proto.Message) {
	switch e := event.(type) {
	case messages.ContainerCreated:
		return "/tasks/create", &eventsapi.TaskCreate{
			ContainerID: string(e.Container),
			Bundle:      e.Bundle,
			Rootfs:      mountsToWire(e.Rootfs),
			IO: &eventsapi.TaskIO{
				Stdin:    e.Stdio.Stdin,
				Stdout:   e.Stdio.Stdout,
				Stderr:   e.Stdio.Stderr,
				Terminal: e.Stdio.Terminal,
			},
			Checkpoint: e.Checkpoint,
			Pid:        uint32(e.PIDs.Host),
		}
	case messages.ContainerStarted:
		return "/tasks/start", &eventsapi.TaskStart{ContainerID: string(e.Container), Pid: uint32(e.PIDs.Host)}
	case messages.ExecAdded:
		return "/tasks/exec-added", &eventsapi.TaskExecAdded{
			ContainerID: string(e.Process.Container),
			ExecID:      string(e.Process.Exec),
		}
	case messages.ExecStarted:
		return "/tasks/exec-started", &eventsapi.TaskExecStarted{
			ContainerID: string(e.Process.Container),
			ExecID:      string(e.Process.Exec),
			Pid:         l.pid(e.Process, e.PIDs),
		}
	case messages.ProcessExited:
		return "/tasks/exit", &eventsapi.TaskExit{
			ContainerID: string(e.Process.Container),
			ID:          processID(e.Process),
			Pid:         l.pid(e.Process, e.PIDs),
			ExitStatus:  uint32(e.Exit.Status),
			ExitedAt:    timestamp(e.Exit.At),
		}
	case messages.ContainerOOM:
		return "/tasks/oom", &eventsapi.TaskOOM{ContainerID: string(e.Container)}
	case messages.ContainerPaused:
		return "/tasks/paused", &eventsapi.TaskPaused{ContainerID: string(e.Container)}
	case messages.ContainerResumed:
		return "/tasks/resumed", &eventsapi.TaskResumed{ContainerID: string(e.Container)}
	case messages.ContainerCheckpointed:
		return "/tasks/checkpointed", &eventsapi.TaskCheckpointed{ContainerID: string(e.Container), Checkpoint: e.ImagePath}
	case messages.ProcessDeleted:
		if !e.Process.IsInit() {
			return "", nil
		}
		d := &eventsapi.TaskDelete{ContainerID: string(e.Process.Container), Pid: l.pid(e.Process, e.PIDs)}
		d.ExitStatus, d.ExitedAt = wireExit(e.Exit)
		return "/tasks/delete", d
	}
	return "", nil
}

// processID is containerd's id of a process: an init has its container's.
func processID(p messages.Process) string {
	if p.IsInit() {
		return string(p.Container)
	}
	return string(p.Exec)
}

// wireExit is an exit as containerd has it. A process that was never started
// has the unknown status: zero would be a success.
func wireExit(e *messages.Exit) (status uint32, at *timestamppb.Timestamp) {
	if e == nil {
		return messages.ExitUnknown, timestamp(time.Now())
	}
	return uint32(e.Status), timestamp(e.At)
}

// timestamp leaves the zero time out: containerd reads an absent one as zero.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func mountsToWire(mounts []messages.Mount) []*types.Mount {
	wire := make([]*types.Mount, len(mounts))
	for i, m := range mounts {
		wire[i] = &types.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options}
	}
	return wire
}

func mountsFromWire(wire []*types.Mount) []messages.Mount {
	mounts := make([]messages.Mount, len(wire))
	for i, m := range wire {
		mounts[i] = messages.Mount{Type: m.GetType(), Source: m.GetSource(), Target: m.GetTarget(), Options: m.GetOptions()}
	}
	return mounts
}
