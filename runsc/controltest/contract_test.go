package controltest

import (
	"bytes"
	"encoding/json"
	"flag"
	"net"
	"os"
	"path/filepath"
	"testing"

	"gvisor.dev/gvisor/pkg/sentry/control"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/kernel/auth"
	"gvisor.dev/gvisor/pkg/unet"
	"gvisor.dev/gvisor/pkg/urpc"
	"gvisor.dev/gvisor/runsc/boot"
)

var rewrite = flag.Bool("rewrite", false, "write the contract anew")

// hold compares v, as JSON, with a file of the contract.
func hold(t *testing.T, name string, v any) {
	t.Helper()
	got, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	path := filepath.Join("../testdata/control", name)
	if *rewrite {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("gVisor and %s differ: adapt the client, then run with -rewrite. gVisor has\n%s", path, got)
	}
}

// sockets are two ends of a stream, gVisor's and ours.
func sockets(t *testing.T) (*unet.Socket, net.Conn) {
	t.Helper()
	theirs, other, err := unet.SocketPair(false)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := other.Release()
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "ours")
	defer f.Close()
	ours, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		theirs.Close()
		ours.Close()
	})
	return theirs, ours
}

// TestRequests writes down what gVisor's own client sends.
func TestRequests(t *testing.T) {
	cid := "c1"
	requests := map[string]json.RawMessage{}
	for name, r := range map[string]struct {
		method string
		arg    any
	}{
		"exec":      {boot.ContMgrExecuteAsync, execArgs()},
		"waitpid":   {boot.ContMgrWaitPID, &boot.WaitPIDArgs{PID: 7, CID: cid}},
		"wait":      {boot.ContMgrWait, &cid},
		"signal":    {boot.ContMgrSignal, &boot.SignalArgs{CID: cid, Signo: 15, PID: 7, Mode: boot.DeliverToProcess}},
		"signalall": {boot.ContMgrSignal, &boot.SignalArgs{CID: cid, Signo: 9, Mode: boot.DeliverToAllProcesses}},
		"signalfg":  {boot.ContMgrSignal, &boot.SignalArgs{CID: cid, Signo: 2, PID: 7, Mode: boot.DeliverToForegroundProcessGroup}},
		"signalpg":  {boot.ContMgrSignal, &boot.SignalArgs{CID: cid, Signo: 2, PID: 7, Mode: boot.DeliverToProcessGroup}},
		"processes": {boot.ContMgrProcesses, &cid},
		"event":     {boot.ContMgrEvent, &cid},
		"state":     {boot.ContMgrContainerRuntimeState, &cid},
	} {
		theirs, ours := sockets(t)
		go urpc.NewClient(theirs).Call(r.method, r.arg, nil)
		var raw json.RawMessage
		if err := json.NewDecoder(ours).Decode(&raw); err != nil {
			t.Fatal(name, err)
		}
		requests[name] = raw
	}
	hold(t, "requests.json", requests)
}

// Proc answers as a containerManager would; urpc calls it by its type's name.
type Proc struct{}

func (*Proc) ExecuteAsync(_ *control.ExecArgs, pid *int32) error { *pid = 42; return nil }

func (*Proc) WaitPID(_ *boot.WaitPIDArgs, status *uint32) error { *status = 9; return nil }

func (*Proc) Signal(_ *boot.SignalArgs, _ *struct{}) error { return nil }

func (*Proc) NoProcesses(_ *string, _ *[]*control.Process) error { return nil }

func (*Proc) Processes(_ *string, out *[]*control.Process) error {
	*out = []*control.Process{
		{UID: auth.KUID(1), PID: 2, PPID: 3, PGID: 4, Threads: []kernel.ThreadID{2, 5}, C: 6, TTY: "pts/0", STime: "12:00", Time: "7ms", Cmd: "sh"},
		{PID: 8, TTY: "?", Threads: []kernel.ThreadID{8}, Cmd: "top"},
	}
	return nil
}

func (*Proc) Event(_ *string, out *boot.EventOut) error {
	out.Event.Type, out.Event.ID = "stats", "c1"
	d := &out.Event.Data
	d.CPU.Usage.Kernel, d.CPU.Usage.User, d.CPU.Usage.Total = 1, 2, 3
	d.Memory.Cache = 4
	d.Memory.Usage = boot.MemoryEntry{Limit: 5, Usage: 6, Max: 7, Failcnt: 8}
	d.Pids.Current, d.Pids.Limit = 9, 10
	d.NetworkInterfaces = []*boot.NetworkInterface{{Name: "lo", RxBytes: 11}}
	out.ContainerUsage = map[string]uint64{"c1": 12, "c2": 13}
	return nil
}

func (*Proc) State(_ *string, out *boot.ContainerRuntimeState) error {
	*out = boot.RuntimeStateRunning
	return nil
}

func (*Proc) Fail(_ *string, _ *struct{}) error { return os.ErrNotExist }

// TestReplies writes down what gVisor's own server answers.
func TestReplies(t *testing.T) {
	replies := map[string]json.RawMessage{}
	for name, r := range map[string]struct {
		method string
		arg    any
	}{
		"exec":          {"Proc.ExecuteAsync", struct{}{}},
		"waitpid":       {"Proc.WaitPID", struct{}{}},
		"signal":        {"Proc.Signal", struct{}{}},
		"processes":     {"Proc.Processes", ""},
		"noprocesses":   {"Proc.NoProcesses", ""},
		"event":         {"Proc.Event", ""},
		"state":         {"Proc.State", ""},
		"error":         {"Proc.Fail", ""},
		"unknownmethod": {"Proc.None", ""},
		"otherargument": {"Proc.State", 5},
	} {
		theirs, ours := sockets(t)
		server := urpc.NewServer()
		server.Register(&Proc{})
		server.StartHandling(theirs)
		if err := json.NewEncoder(ours).Encode(map[string]any{"method": r.method, "arg": r.arg}); err != nil {
			t.Fatal(err)
		}
		var raw json.RawMessage
		if err := json.NewDecoder(ours).Decode(&raw); err != nil {
			t.Fatal(name, err)
		}
		replies[name] = raw
		ours.Close()
		server.Stop(0)
	}
	hold(t, "replies.json", replies)
}

// TestStates pins the numbers of the states of a container.
func TestStates(t *testing.T) {
	hold(t, "states.json", map[string]boot.ContainerRuntimeState{
		"creating": boot.RuntimeStateCreating,
		"running":  boot.RuntimeStateRunning,
		"stopped":  boot.RuntimeStateStopped,
	})
}
