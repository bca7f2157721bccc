package lifecycle

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/troupe-run/troupe/messages"
)

// Text of inputs and effects, one line each, for scripts and for the story of a
// walk that failed. Numbers and ids are in it, addresses and times are not.

func effectText(e Effect) string {
	switch e := e.(type) {
	case Reply:
		return "reply " + replyText(e)
	case Publish:
		return "publish " + eventText(e.Event)
	case Call:
		return fmt.Sprintf("call %d: %s", e.Op, doText(e.Target, e.Do))
	case Discard:
		return "discard " + e.Target.String()
	case KillChild:
		return "kill child " + e.Target.String()
	case SpawnExec:
		return "spawn exec " + e.Exec.ID.String()
	case SpawnContainer:
		return fmt.Sprintf("spawn container %s in sandbox %s, %s", e.Container.Init.ID, e.Container.Init.Sandbox, inputText(e.Create))
	case SpawnSandbox:
		return "spawn sandbox " + string(e.Sandbox.ID)
	case Forward:
		return fmt.Sprintf("forward to %s: %s", e.To, inputText(e.In))
	case Pass:
		return "pass it on"
	case Retire:
		return "retire " + e.Child
	case SetDrainTimer:
		return "set the drain timer"
	case Input:
		return "notice: " + inputText(e)
	}
	panic(fmt.Sprintf("no text for %T", e))
}

func inputText(in Input) string {
	switch in := in.(type) {
	case Command:
		text := in.Cmd.Verb()
		if t := in.Cmd.Target(); t.Container != "" {
			text += " " + t.String()
		}
		if in.Number != 0 {
			text += fmt.Sprintf("#%d", in.Number)
		}
		if in.Paused {
			text += ", paused"
		}
		if in.Asker != nil {
			text += fmt.Sprintf(" for %s", askerText(in.Asker))
		}
		return text
	case Abandon:
		return fmt.Sprintf("%s gives up %s", askerText(in.Asker), in.Process)
	case Answer:
		if in.Err != nil {
			return fmt.Sprintf("answer %d: %s", in.Op, errorText(in.Err))
		}
		return fmt.Sprintf("answer %d", in.Op)
	case Exit:
		return "exit" + exitText(&in.Exit)
	case Doom:
		return "doom: " + in.Reason
	case Crash:
		return "crash: " + in.Reason
	case Started:
		return fmt.Sprintf("started %s%s", in.Process, pidsText(in.PIDs))
	case Changed:
		return fmt.Sprintf("sandbox %s is %s", in.Sandbox, in.Health)
	case Deleted:
		text := "deleted " + in.Process.String()
		for _, r := range in.Replies {
			text += "; then reply " + replyText(r)
		}
		return text
	}
	// What is left is a name and at most a process.
	v := reflect.ValueOf(in)
	text := strings.ToLower(v.Type().Name())
	if f := v.FieldByName("Process"); f.IsValid() {
		text += " " + f.Interface().(messages.Incarnation).String()
	}
	return text
}

func askerText(a Asker) string {
	if s, ok := a.(fmt.Stringer); ok {
		return s.String()
	}
	return fmt.Sprint(a)
}

func replyText(r Reply) string {
	to := askerText(r.To) + ": "
	if r.Err != nil {
		return to + errorText(r.Err)
	}
	switch m := r.Reply.(type) {
	case messages.Created:
		return to + "created" + pidsText(m.PIDs)
	case messages.Started:
		return to + "started" + pidsText(m.PIDs)
	case messages.ProcessState:
		return to + string(m.Status) + pidsText(m.PIDs) + exitText(m.Exit)
	case messages.Exited:
		return to + "exited" + exitText(&m.Exit)
	case messages.Deleted:
		return to + "deleted" + exitText(m.Exit)
	case messages.PidList:
		for _, p := range m.Processes {
			to += fmt.Sprintf("%s%s ", p.Process, pidsText(p.PIDs))
		}
		return strings.TrimSpace(to)
	case messages.RuntimeInfo:
		for _, s := range m.Sandboxes {
			to += fmt.Sprintf("%s %v ", s.Sandbox, s.Containers)
		}
		return strings.TrimSpace(to)
	}
	return to + strings.ToLower(reflect.TypeOf(r.Reply).Name())
}

func errorText(err error) string { return fmt.Sprintf("%v: %v", messages.KindOf(err), err) }

func eventText(e messages.Event) string {
	text := fmt.Sprintf("%s %s", reflect.TypeOf(e).Name(), e.Subject())
	switch e := e.(type) {
	case messages.ContainerCreated:
		return text + pidsText(e.PIDs)
	case messages.ContainerStarted:
		return text + pidsText(e.PIDs)
	case messages.ExecStarted:
		return text + pidsText(e.PIDs)
	case messages.ProcessExited:
		return text + exitText(&e.Exit)
	case messages.ProcessDeleted:
		return text + exitText(e.Exit)
	}
	return text
}

func doText(target messages.Incarnation, do Do) string {
	text := do.Verb() + " " + target.String()
	switch do := do.(type) {
	case DoExec:
		if do.Launch.Stdio.Terminal {
			text += fmt.Sprintf(" size=%dx%d", do.Launch.Stdio.Size.Cols, do.Launch.Stdio.Size.Rows)
		}
		if do.Launch.StdinClosed {
			text += " stdin=closed"
		}
	case DoKill:
		text += " " + signalText(do.Signal)
		if do.All {
			text += " all"
		}
	case DoResize:
		text += fmt.Sprintf(" %dx%d", do.Size.Cols, do.Size.Rows)
	}
	return text
}

func pidsText(p messages.PIDs) string {
	if p == (messages.PIDs{}) {
		return ""
	}
	return fmt.Sprintf(" host=%d guest=%d", p.Host, p.Guest)
}

func exitText(e *messages.Exit) string {
	if e == nil {
		return ""
	}
	text := fmt.Sprintf(" status=%d", e.Status)
	if e.Reason != "" {
		text += " (" + e.Reason + ")"
	}
	return text
}
