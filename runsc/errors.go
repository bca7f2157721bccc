package runsc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os/exec"
	"strings"
	"syscall"

	"github.com/troupe-run/troupe/messages"
)

// maxErrorText bounds what of runsc's output goes into an error, in bytes. A
// panic of runsc prints the stacks of all of its goroutines.
const maxErrorText = 2048

// record is one entry of the file that --log names (gVisor,
// runsc/cmd/util/util.go).
type record struct {
	Msg   string `json:"msg"`
	Level string `json:"level"`
}

// parseLog reads the records of runsc's log. They stand without anything
// between them, not even a newline. What is not a record is skipped: the sandbox
// has the file open too, and a record that was cut off by a full disk is no
// reason to hide the ones before it.
func parseLog(log []byte) []string {
	var texts []string
	for len(log) > 0 {
		start := bytes.IndexByte(log, '{')
		if start < 0 {
			break
		}
		log = log[start:]
		d := json.NewDecoder(bytes.NewReader(log))
		var r record
		if err := d.Decode(&r); err != nil {
			log = log[1:]
			continue
		}
		log = log[d.InputOffset():]
		text := strings.TrimSpace(r.Msg)
		if text == "" || (r.Level != "" && r.Level != "error" && r.Level != "fatal" && r.Level != "panic") {
			continue
		}
		// runsc and the sandbox that it started both tell of one cause.
		if len(texts) == 0 || texts[len(texts)-1] != text {
			texts = append(texts, text)
		}
	}
	return texts
}

// errorText is the readable reason of a failed call: what runsc logged, else the
// last thing that it printed.
func errorText(log, stderr []byte) string {
	if texts := parseLog(log); len(texts) > 0 {
		return cut(strings.Join(texts, "; "))
	}
	text := strings.TrimSpace(string(stderr))
	// Of a panic the first line says what, and the rest where in runsc.
	if line, _, more := strings.Cut(text, "\n"); more && strings.HasPrefix(line, "panic: ") {
		return cut("runsc crashed: " + line)
	}
	lines := strings.Split(text, "\n")
	return cut(strings.TrimSpace(lines[len(lines)-1]))
}

func cut(s string) string {
	// An error is one line.
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	if len(s) > maxErrorText {
		s = strings.ToValidUTF8(s[:maxErrorText], "") + "..."
	}
	return s
}

// cause is a known reason in runsc's words.
type cause struct {
	// words must all be in the text.
	words []string
	kind  error
	hint  string
}

// causes are looked through in order: the narrow ones first. The words are those
// of runsc/container/container.go, runsc/sandbox/sandbox.go, runsc/boot/loader.go
// and of the kernel's errors.
var causes = []cause{
	{[]string{"no space left on device"}, messages.ResourceExhausted, "make room on the disk of the state folder and of runsc's root"},
	{[]string{"disk quota exceeded"}, messages.ResourceExhausted, "make room on the disk of the state folder and of runsc's root"},
	{[]string{"read-only file system"}, messages.FailedPrecondition, "choose a folder that can be written"},
	{[]string{"error finding executable", "permission denied"}, messages.FailedPrecondition, "make the command executable in the container's root file system"},
	{[]string{"error finding executable"}, messages.NotFound, "check the command and its PATH in the container's root file system"},
	{[]string{"no such process"}, messages.NotFound, ""},
	{[]string{"container already exists"}, messages.AlreadyExists, "choose another id, or delete that container"},
	// A member of a pod that was killed before its start (runsc/boot/loader.go).
	{[]string{"destroying container", "not found"}, messages.NotFound, ""},
	{[]string{"unknown signal"}, messages.InvalidArgument, "runsc knows the signals 1 to 31"},
	{[]string{"in state"}, messages.FailedPrecondition, ""},
	{[]string{"container that is not stopped"}, messages.FailedPrecondition, "kill it first"},
	{[]string{"already started"}, messages.FailedPrecondition, ""},
	{[]string{"sandbox is not running"}, messages.FailedPrecondition, "its sandbox is gone; delete it"},
	{[]string{"is not running"}, messages.FailedPrecondition, ""},
	{[]string{"no longer running"}, messages.FailedPrecondition, ""},
	{[]string{"not started"}, messages.FailedPrecondition, "start it first"},
	{[]string{"connecting to control server"}, messages.FailedPrecondition, "its sandbox is gone; delete it"},
	{[]string{"cannot load sandbox", "does not exist"}, messages.FailedPrecondition, "create the sandbox's first container first"},
	{[]string{"loading container", "does not exist"}, messages.NotFound, ""},
	{[]string{"cannot resolve username"}, messages.InvalidArgument, ""},
	{[]string{"invalid container id"}, messages.InvalidArgument, ""},
	{[]string{"reading spec"}, messages.InvalidArgument, "check the bundle's config.json"},
	{[]string{"invalid process spec"}, messages.InvalidArgument, ""},
	{[]string{"parsing process spec"}, messages.InvalidArgument, "check the process's spec"},
	{[]string{"resolving env"}, messages.InvalidArgument, "write each variable as NAME=VALUE"},
	{[]string{"flag provided but not defined"}, messages.InvalidArgument, "this runsc does not know a flag that it was given; check the options, or use a newer runsc"},
	{[]string{"invalid value", "for flag"}, messages.InvalidArgument, "check the options that are passed to runsc"},
	{[]string{"permission denied"}, messages.FailedPrecondition, "runsc needs root"},
	{[]string{"operation not permitted"}, messages.FailedPrecondition, "runsc needs root"},
	{[]string{"does not exist"}, messages.NotFound, ""},
	{[]string{"no such file or directory"}, messages.NotFound, ""},
}

// kindOf finds the kind of what runsc said.
func kindOf(text string) (hint string, kind error) {
	for _, c := range causes {
		if containsAll(text, c.words) {
			return c.hint, c.kind
		}
	}
	return "", messages.Internal
}

func containsAll(text string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// startError is that of a runsc that could not be started at all.
func startError(op string, p messages.Process, path string, err error) error {
	e := &messages.Error{Kind: messages.Unavailable, Op: op, Process: p, Err: err}
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		e.Hint = "install runsc or say where it is: there is none at " + path
	case errors.Is(err, fs.ErrPermission):
		e.Hint = "make " + path + " executable"
	case errors.Is(err, syscall.ENOEXEC):
		e.Hint = path + " is not a program for this machine"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOMEM):
		e.Kind = messages.ResourceExhausted
		e.Hint = "raise the limits of open files and processes, or run fewer at once"
	}
	return e
}

// endError is that of a call that its context ended.
func endError(op string, p messages.Process, err error) error {
	e := &messages.Error{Kind: messages.DeadlineExceeded, Op: op, Process: p, Err: err,
		Hint: "runsc did not answer in time and was killed; if this goes on, kill the sandbox"}
	if errors.Is(err, context.Canceled) {
		e.Kind, e.Hint = messages.Canceled, ""
	}
	return e
}

// about gives err the name of what was tried, in place of the runsc command that
// tried it.
func about(op string, p messages.Process, s messages.SandboxID, err error) error {
	if err == nil {
		return nil
	}
	out := &messages.Error{Kind: messages.KindOf(err), Op: op, Process: p, Sandbox: s, Err: err}
	var in *messages.Error
	if errors.As(err, &in) && in.Err != nil {
		out.Err, out.Hint = in.Err, in.Hint
	} else if out.Kind == messages.Internal {
		out.Hint, out.Kind = kindOfHost(err)
	}
	return out
}

// kindOfHost is the kind of an error of the kernel's, and what to do about it. It
// is Internal for one that nobody but us can do anything about.
func kindOfHost(err error) (hint string, kind error) {
	switch {
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "raise the limit of open files (ulimit -n), or run fewer at once", messages.ResourceExhausted
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "make room on the disk", messages.ResourceExhausted
	case errors.Is(err, syscall.ENOMEM):
		return "run fewer at once: the machine has no memory left", messages.ResourceExhausted
	case errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return "check the owner and the mode, and that the file system can be written", messages.FailedPrecondition
	}
	return "", messages.Internal
}
