package containerd

import (
	"context"
	"strings"

	eventtypes "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/services/events/v1"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-run/troupe/messages"
)

// eventRoom is how many events may wait for the reader.
const eventRoom = 1 << 12

// subscribe passes on the events of containers whose ids begin with the prefix,
// until ctx ends.
func subscribe(ctx context.Context, client events.EventsClient, namespace, prefix string) (<-chan messages.Event, error) {
	stream, err := client.Subscribe(ctx, &events.SubscribeRequest{Filters: []string{"namespace==" + namespace + `,topic~="^/tasks/"`}})
	if err != nil {
		return nil, kindOf(err)
	}
	out := make(chan messages.Event, eventRoom)
	go func() {
		defer close(out)
		for {
			envelope, err := stream.Recv()
			if err != nil {
				return
			}
			e := translate(envelope)
			if e == nil || !strings.HasPrefix(string(e.Subject().Container), prefix+"-") {
				continue
			}
			select {
			case out <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// translate is nil for an event that is not about a process's life.
func translate(envelope *types.Envelope) messages.Event {
	read := func(m proto.Message) bool { return proto.Unmarshal(envelope.Event.GetValue(), m) == nil }
	switch envelope.Topic {
	case "/tasks/create":
		if e := (&eventtypes.TaskCreate{}); read(e) {
			return messages.ContainerCreated{Container: messages.ContainerID(e.ContainerID)}
		}
	case "/tasks/start":
		if e := (&eventtypes.TaskStart{}); read(e) {
			return messages.ContainerStarted{Container: messages.ContainerID(e.ContainerID)}
		}
	case "/tasks/exec-added":
		if e := (&eventtypes.TaskExecAdded{}); read(e) {
			return messages.ExecAdded{Process: process(e.ContainerID, e.ExecID)}
		}
	case "/tasks/exec-started":
		if e := (&eventtypes.TaskExecStarted{}); read(e) {
			return messages.ExecStarted{Process: process(e.ContainerID, e.ExecID)}
		}
	case "/tasks/exit":
		if e := (&eventtypes.TaskExit{}); read(e) {
			return messages.ProcessExited{
				Process: process(e.ContainerID, e.ID),
				Exit:    messages.Exit{Status: int(e.ExitStatus), At: e.ExitedAt.AsTime()},
			}
		}
	case "/tasks/delete":
		if e := (&eventtypes.TaskDelete{}); read(e) {
			return messages.ProcessDeleted{Process: process(e.ContainerID, e.ID)}
		}
	}
	return nil
}

// process: the init goes by the container's id, or by none.
func process(container, id string) messages.Process {
	p := messages.Process{Container: messages.ContainerID(container)}
	if id != container {
		p.Exec = messages.ExecID(id)
	}
	return p
}
