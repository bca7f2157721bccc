package runsc

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/messages"
)

// The files of testdata/control are written by gVisor's own packages: see
// controltest, which also checks that they still are what gVisor does.

func readContract(t *testing.T, name string, v any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata/control", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
}

// sameWhereSet compares what we send with what gVisor sends: every field of ours
// is one of gVisor's and equal, and what we leave out gVisor leaves empty.
func sameWhereSet(t *testing.T, ours, theirs any) {
	t.Helper()
	a, b := plain(t, ours), plain(t, theirs)
	am, ok := a.(map[string]any)
	if !ok {
		if !reflect.DeepEqual(a, b) {
			t.Errorf("we have %v and gVisor has %v", a, b)
		}
		return
	}
	bm := b.(map[string]any)
	for k, v := range am {
		if w, ok := bm[k]; !ok {
			t.Errorf("gVisor has no field %q", k)
		} else if !reflect.DeepEqual(v, w) {
			t.Errorf("%s: we have %v and gVisor has %v", k, v, w)
		}
	}
	for k, w := range bm {
		if _, ok := am[k]; !ok && w != nil {
			t.Errorf("%s: we leave it out and gVisor has %v", k, w)
		}
	}
}

func plain(t *testing.T, v any) (out any) {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestControlContractRequests(t *testing.T) {
	var theirs map[string]struct {
		Method string
		Arg    json.RawMessage
	}
	readContract(t, "requests.json", &theirs)
	exec, err := newExecArgs(nil, &specs.Process{
		Args: []string{"sh", "-c", "exit 3"}, Env: []string{"A=B"}, Cwd: "/w",
		User:         specs.User{UID: 1, GID: 2, AdditionalGids: []uint32{3}},
		Capabilities: &specs.LinuxCapabilities{Effective: []string{"CAP_KILL"}}, Terminal: true, NoNewPrivileges: true,
	}, false)
	if err != nil {
		t.Fatal(err)
	}
	exec.ContainerID = "c1"
	ours := map[string]request{
		"exec":      {methodExec, exec},
		"waitpid":   {methodWaitPID, waitPIDArgs{PID: 7, CID: "c1"}},
		"wait":      {methodWait, "c1"},
		"signal":    {methodSignal, signalArgs{CID: "c1", Signo: int32(syscall.SIGTERM), PID: 7, Mode: signalProcess}},
		"signalall": {methodSignal, signalArgs{CID: "c1", Signo: int32(syscall.SIGKILL), Mode: signalAll}},
		"signalfg":  {methodSignal, signalArgs{CID: "c1", Signo: int32(syscall.SIGINT), PID: 7, Mode: signalForeground}},
		"signalpg":  {methodSignal, signalArgs{CID: "c1", Signo: int32(syscall.SIGINT), PID: 7, Mode: signalGroup}},
		"processes": {methodProcesses, "c1"},
		"event":     {methodEvent, "c1"},
		"state":     {methodState, "c1"},
	}
	if len(theirs) != len(ours) {
		t.Errorf("the contract has %d requests, and %d are made here", len(theirs), len(ours))
	}
	for name, r := range ours {
		t.Run(name, func(t *testing.T) {
			if want := theirs[name].Method; r.Method != want {
				t.Errorf("method %s, want %s", r.Method, want)
			}
			sameWhereSet(t, r.Arg, theirs[name].Arg)
		})
	}
}

func TestControlContractExec(t *testing.T) {
	var cases []struct {
		Name               string
		Container, Process *specs.Process
		NetRaw             bool
		Want               json.RawMessage
	}
	readContract(t, "exec.json", &cases)
	if len(cases) < 15 {
		t.Fatalf("there are %d cases", len(cases))
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			args, err := newExecArgs(c.Container, c.Process, c.NetRaw)
			if refused := string(c.Want) == "null"; refused != (err != nil) {
				t.Fatalf("refused by runsc: %v; here: %v", refused, err)
			} else if !refused {
				sameWhereSet(t, args, c.Want)
			}
		})
	}
}

func TestControlContractReplies(t *testing.T) {
	var replies map[string]json.RawMessage
	readContract(t, "replies.json", &replies)
	result := func(t *testing.T, name string) json.RawMessage {
		raw, refused, err := readReply(bytes.NewReader(replies[name]), maxReply)
		if err != nil || refused != nil {
			t.Fatal(name, refused, err)
		}
		return raw
	}
	if pid, err := decodePID(result(t, "exec")); err != nil || pid != 42 {
		t.Error(pid, err)
	}
	if ws, err := decodeStatus(result(t, "waitpid")); err != nil || ws.exit() != 137 {
		t.Error(ws, err)
	}
	result(t, "signal")
	list, err := decodeProcesses(result(t, "processes"))
	want := []guestProcess{
		{UID: 1, PID: 2, PPID: 3, PGID: 4, Threads: []int32{2, 5}, TTY: "pts/0", STime: "12:00", Time: "7ms", Cmd: "sh"},
		{PID: 8, TTY: "?", Threads: []int32{8}, Cmd: "top"},
	}
	if err != nil || !reflect.DeepEqual(list, want) {
		t.Errorf("%+v, %v", list, err)
	}
	if list, err := decodeProcesses(result(t, "noprocesses")); err != nil || list != nil {
		t.Error(list, err)
	}
	event, err := decodeResult[eventOut](result(t, "event"))
	if err != nil {
		t.Fatal(err)
	}
	for host, total := range map[uint64]uint64{0: 12, 50: 24} {
		usage := messages.Usage{
			CPU:    messages.CPUUsage{Total: total, User: 2, System: 1},
			Memory: messages.MemoryUsage{Current: 6, Max: 7, Limit: 5, Cache: 4},
			PIDs:   messages.PIDUsage{Current: 9, Limit: 10},
		}
		if got := usageOf(event, "c1", host); got != usage {
			t.Errorf("with %d of the host: %+v", host, got)
		}
	}
	var states map[string]int
	readContract(t, "states.json", &states)
	for name, n := range states {
		if got := guestState(n).String(); got != name {
			t.Errorf("state %d is %s, and %s here", n, name, got)
		}
	}
	for name, kind := range map[string]error{"unknownmethod": messages.Unimplemented, "otherargument": messages.Unimplemented, "error": messages.NotFound} {
		_, refused, err := readReply(bytes.NewReader(replies[name]), maxReply)
		if err != nil || refused == nil || refused.kind() != kind {
			t.Errorf("%s: %v, %v", name, refused, err)
		}
	}
}

// TestControlRefusals: the texts are those of gVisor.
func TestControlRefusals(t *testing.T) {
	for _, test := range []struct {
		method, text string
		kind         error
	}{
		{methodExec, "unknown method", messages.Unimplemented},
		{methodExec, `json: cannot unmarshal string into Go struct field ExecArgs.KUID of type auth.KUID`, messages.Unimplemented},
		{methodExec, `container "c" not found`, messages.NotFound},
		{methodExec, `container "c" not started`, messages.FailedPrecondition},
		{methodExec, `container "c" has stopped`, messages.FailedPrecondition},
		{methodExec, `error finding executable "unknown method" in PATH [/bin]: no such file or directory`, messages.NotFound},
		{methodExec, `error finding executable "container x not started" in PATH [/bin]: permission denied`, messages.FailedPrecondition},
		{methodExec, `failed to load /etc/passwd: permission denied`, messages.FailedPrecondition},
		{methodExec, `failed to load /x: exec format error`, messages.FailedPrecondition},
		{methodExec, `failed to find initial working directory "/x": no such file or directory`, messages.NotFound},
		{methodExec, `resolving env: invalid variable: X`, messages.InvalidArgument},
		{methodExec, `creating limits: what`, messages.Internal},
		{methodExec, `cannot allocate memory`, messages.ResourceExhausted},
		{methodSignal, `signaling process in container "c" PID 7: no such process with PID 7`, messages.NotFound},
		{methodSignal, `signaling process in container "c" PID 7: process 7 belongs to a different container: "d"`, messages.NotFound},
		{methodSignal, `signaling foreground process group in container "c" PID 7: no TTY attached`, messages.FailedPrecondition},
		{methodSignal, `signaling process group 7: no such process group with PGID 7`, messages.NotFound},
		{methodSignal, `PID (-1) must be positive`, messages.InvalidArgument},
		{methodSignal, `container "c" not started`, messages.FailedPrecondition},
		{methodWaitPID, `waiting for PID 7: no such process`, messages.NotFound},
		{methodWaitPID, `waiting for PID 7: container "c" not found`, messages.NotFound},
		{methodWait, `container "c" not found`, messages.NotFound},
		{methodEvent, `something else`, messages.Internal},
	} {
		r := &refusal{method: test.method, text: test.text}
		if r.kind() != test.kind {
			t.Errorf("%s: %q is %v, want %v", test.method, test.text, r.kind(), test.kind)
		}
		if err := controlError("try", messages.Init("c"), r); !errors.Is(err, test.kind) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("the error is %v", err)
		}
	}
}

func TestControlNetRaw(t *testing.T) {
	for _, test := range []struct {
		flag, override bool
		annotation     string
		want           bool
	}{
		{false, false, "", false},
		{true, false, "", true},
		{false, true, "true", true},
		{true, true, "false", false},
		{true, true, "what", false},
		{false, false, "true", false},
	} {
		annotations := map[string]string{}
		if test.annotation != "" {
			annotations[netRawAnnotation] = test.annotation
		}
		if got := netRawAllowed(test.flag, test.override, annotations); got != test.want {
			t.Errorf("%+v gives %v", test, got)
		}
	}
}
