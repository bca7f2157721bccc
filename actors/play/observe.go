package play

import (
	"context"
	"fmt"
	"strings"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/messages"
)

// take returns the events since the last take: all that were published before
// the reply to any command that was answered. Sync promises that they are in
// the subscription, so nothing is waited for beyond it.
func take(ctx context.Context, sub *actors.Subscription) ([]messages.Event, error) {
	if err := sub.Sync(ctx); err != nil {
		return nil, err
	}
	var list []messages.Event
	for {
		select {
		case e, open := <-sub.Events():
			if !open {
				return list, nil
			}
			list = append(list, e)
		default:
			return list, nil
		}
	}
}

// render prints events, one a line.
func render(list []messages.Event) string {
	var b strings.Builder
	for _, e := range list {
		switch e := e.(type) {
		case messages.ProcessExited:
			fmt.Fprintf(&b, "TaskExit %s status=%d\n", e.Process, e.Exit.Status)
		case messages.EventsDropped:
			fmt.Fprintf(&b, "(%d events dropped)\n", e.Count)
		default:
			fmt.Fprintf(&b, "%s %s\n", topic(e), e.Subject())
		}
	}
	return b.String()
}

// topic is the name that containerd gives to an event.
func topic(e messages.Event) string {
	switch e.(type) {
	case messages.ContainerCreated:
		return "TaskCreate"
	case messages.ContainerStarted:
		return "TaskStart"
	case messages.ExecAdded:
		return "TaskExecAdded"
	case messages.ExecStarted:
		return "TaskExecStarted"
	case messages.ContainerOOM:
		return "TaskOOM"
	case messages.ContainerPaused:
		return "TaskPaused"
	case messages.ContainerResumed:
		return "TaskResumed"
	case messages.ContainerCheckpointed:
		return "TaskCheckpointed"
	case messages.ProcessDeleted:
		return "TaskDelete"
	}
	return fmt.Sprintf("%T", e)
}
