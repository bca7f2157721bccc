package main

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	taskv2 "github.com/containerd/containerd/api/runtime/task/v2"
	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/troupe-run/troupe/messages"
)

var discard = slog.New(slog.DiscardHandler)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func encoded(t testing.TB, m proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(m)
	must(t, err)
	return data
}

func TestReadBootstrap(t *testing.T) {
	inv := invocation{id: "c1", namespace: "ns"}
	options, err := asAny(&runtimeoptions.Options{ConfigPath: "/x.toml"})
	must(t, err)
	dir := "/run/other"
	params := &bootapi.BootstrapParams{
		InstanceID: "c1", Namespace: "ns", SocketDir: &dir, LogLevel: bootapi.LogLevel_LOG_LEVEL_DEBUG,
		Extensions: []*bootapi.Extension{{Value: options}},
	}
	b, err := readBootstrap(bytes.NewReader(encoded(t, params)), inv)
	must(t, err)
	if !b.modern || b.socketDir != dir || !b.debug || b.options.GetTypeUrl() != runtimeOptionsType {
		t.Errorf("bootstrap parameters are read as %+v", b)
	}
	// The options of an older daemon parse as bootstrap parameters too, with the
	// type as the id.
	b, err = readBootstrap(bytes.NewReader(encoded(t, options)), inv)
	must(t, err)
	if b.modern || b.options.GetTypeUrl() != runtimeOptionsType {
		t.Errorf("options are read as %+v", b)
	}
	b, err = readBootstrap(strings.NewReader(""), inv)
	if err != nil || b.modern || b.options != nil {
		t.Errorf("nothing is read as %+v, %v", b, err)
	}
	if _, err := readBootstrap(strings.NewReader("\xff\xff"), inv); err == nil {
		t.Error("rubbish is accepted")
	}
}

func TestAnswer(t *testing.T) {
	var out bytes.Buffer
	must(t, bootstrap{modern: true}.writeAnswer(&out, "unix:///s", 3))
	var result bootapi.BootstrapResult
	must(t, proto.Unmarshal(out.Bytes(), &result))
	if result.Version != 3 || result.Address != "unix:///s" || result.Protocol != "ttrpc" {
		t.Errorf("a modern daemon reads %v", &result)
	}
	out.Reset()
	must(t, bootstrap{}.writeAnswer(&out, "unix:///s", 3))
	// containerd 1.7 refuses versions above 2 (runtime/v2/shim.go).
	if got := out.String(); got != `{"version":2,"address":"unix:///s","protocol":"ttrpc"}` {
		t.Errorf("an older daemon reads %s", got)
	}
}

// TestTaskVersionsAgree holds what lets one set of types serve both versions of
// the task service: the same fields, numbers and types.
func TestTaskVersionsAgree(t *testing.T) {
	v2, v3 := taskv2.File_runtime_task_v2_shim_proto, taskv3.File_runtime_task_v3_shim_proto
	if v2.Messages().Len() != v3.Messages().Len() {
		t.Fatalf("%d and %d messages", v2.Messages().Len(), v3.Messages().Len())
	}
	for i := range v2.Messages().Len() {
		if a, b := describe(v2.Messages().Get(i)), describe(v3.Messages().Get(i)); a != b {
			t.Errorf("version 2 has %s, version 3 %s", a, b)
		}
	}
}

func describe(m protoreflect.MessageDescriptor) string {
	var b strings.Builder
	fmt.Fprint(&b, m.Name())
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		fmt.Fprintf(&b, " %s=%d:%v:%v", f.Name(), f.Number(), f.Kind(), f.Cardinality())
	}
	return b.String()
}

// TestListenOrFind starts many shims of one group at once: one listens, the
// others find it, and none takes the other's socket away.
func TestListenOrFind(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	var listeners, finders int
	var mu sync.Mutex
	var wait sync.WaitGroup
	for range 16 {
		wait.Go(func() {
			l, found, err := listenOrFind(path)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				t.Error(err)
			case found:
				finders++
			default:
				listeners++
				t.Cleanup(func() { l.Close() })
			}
		})
	}
	wait.Wait()
	if listeners != 1 || finders != 15 {
		t.Errorf("%d listen and %d found one", listeners, finders)
	}
}

func TestListenReplacesDeadSocket(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	must(t, err)
	l.SetUnlinkOnClose(false)
	l.Close()
	l, found, err := listenOrFind(path)
	must(t, err)
	if found {
		t.Fatal("a dead socket was taken for a shim")
	}
	l.Close()
	if _, _, err := listenOrFind("/" + strings.Repeat("x", maxSocketPath)); err == nil || !strings.Contains(err.Error(), "socket_dir") {
		t.Errorf("a path too long: %v", err)
	}
}

// shortDir is a folder whose path leaves room for a socket's.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "shim")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestGroup(t *testing.T) {
	for _, c := range []struct {
		annotations map[string]string
		grouped     bool
		want        string
	}{
		{nil, true, "me"},
		{map[string]string{"io.kubernetes.cri.sandbox-id": "pod"}, true, "pod"},
		{map[string]string{"io.kubernetes.cri-o.SandboxID": "crio"}, true, "crio"},
		{map[string]string{"io.containerd.runc.v2.group": "mine", "io.kubernetes.cri.sandbox-id": "pod"}, true, "mine"},
		{map[string]string{"io.kubernetes.cri.sandbox-id": "pod"}, false, "me"},
	} {
		dir := t.TempDir()
		data, err := json.Marshal(map[string]any{"annotations": c.annotations})
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600))
		got, err := groupOf(dir, "me", c.grouped)
		if err != nil || got != c.want {
			t.Errorf("%v, grouped %v: %q, %v", c.annotations, c.grouped, got, err)
		}
	}
	if got, err := groupOf(t.TempDir(), "me", true); err != nil || got != "me" {
		t.Errorf("without a spec: %q, %v", got, err)
	}
}

func TestOptions(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "runsc.toml")
	must(t, os.WriteFile(file, []byte("binary_name = \"/opt/runsc\"\ngrouping = false\nio_uid = 7\ncolour = \"red\"\nexec_driver = \"cli\"\n[runsc_config]\nplatform = \"kvm\"\n"), 0o600))
	named, err := asAny(&runtimeoptions.Options{TypeUrl: "io.containerd.runsc.v1.options", ConfigPath: file})
	must(t, err)
	o, err := readOptions(named)
	must(t, err)
	if o.BinaryName != "/opt/runsc" || o.grouped() || o.IoUID != 7 || o.ExecDriver != "cli" || o.RunscConfig["platform"] != "kvm" {
		t.Errorf("options %+v", o)
	}
	if len(o.warnings) != 1 || !strings.Contains(o.warnings[0], `"colour"`) {
		t.Errorf("warnings %q", o.warnings)
	}
	body, err := asAny(&runtimeoptions.Options{ConfigBody: []byte(`root = "/r"`)})
	must(t, err)
	if o, err := readOptions(body); err != nil || o.Root != "/r" || !o.grouped() {
		t.Errorf("options of a body: %+v, %v", o, err)
	}
	runc, err := asAny(&runcoptions.Options{BinaryName: "/r", Root: "/root", ShimCgroup: "/c", IoUid: 1, IoGid: 2, SystemdCgroup: true, NoPivotRoot: true})
	must(t, err)
	o, err = readOptions(runc)
	if err != nil || o.BinaryName != "/r" || o.Root != "/root" || o.ShimCgroup != "/c" || o.IoUID != 1 || o.IoGID != 2 || o.RunscConfig["systemd-cgroup"] != "true" || len(o.warnings) != 1 {
		t.Errorf("options of runc: %+v, %v", o, err)
	}
	for name, bad := range map[string]*anypb.Any{
		"a wrong value":  {TypeUrl: runtimeOptionsType, Value: encoded(t, &runtimeoptions.Options{ConfigBody: []byte(`io_uid = "me"`)})},
		"a wrong level":  {TypeUrl: runtimeOptionsType, Value: encoded(t, &runtimeoptions.Options{ConfigBody: []byte(`log_level = "loud"`)})},
		"a wrong way":    {TypeUrl: runtimeOptionsType, Value: encoded(t, &runtimeoptions.Options{ConfigBody: []byte(`exec_driver = "magic"`)})},
		"no such file":   {TypeUrl: runtimeOptionsType, Value: encoded(t, &runtimeoptions.Options{ConfigPath: "/no/such/file"})},
		"an unknown one": {TypeUrl: "some.Options", Value: []byte("x")},
	} {
		if _, err := readOptions(bad); !errors.Is(err, messages.InvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWireError holds that every kind has a code, also when its cause has
// another kind: gvisor#7504.
func TestWireError(t *testing.T) {
	for _, kind := range messages.Kinds() {
		err := &messages.Error{Kind: kind, Op: "try", Err: fmt.Errorf("cause: %w", messages.NotFound)}
		got := status.Code(wireError(err))
		if got == codes.Unknown || got == codes.OK || got != codeOf[kind] {
			t.Errorf("%v has code %v", kind, got)
		}
	}
	if wireError(nil) != nil {
		t.Error("no error became one")
	}
}

func TestPauseProgram(t *testing.T) {
	for arch, want := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		program, err := pauseProgramFor(arch)
		must(t, err)
		f, err := elf.NewFile(bytes.NewReader(program))
		must(t, err)
		if f.Machine != want || len(f.Progs) != 1 || f.Progs[0].Filesz != uint64(len(program)) {
			t.Errorf("%s: %+v", arch, f)
		}
		// The first instruction is where the entry says.
		code := program[f.Entry-f.Progs[0].Vaddr:]
		if !bytes.Equal(code, pauseCode[arch].code) {
			t.Errorf("%s: the entry is at % x", arch, code)
		}
	}
	if _, err := pauseProgramFor("mips"); err == nil {
		t.Error("mips has a program")
	}
}

// TestPauseWaits runs the program: it must neither crash nor end.
func TestPauseWaits(t *testing.T) {
	program, err := pauseProgram()
	must(t, err)
	path := filepath.Join(t.TempDir(), "pause")
	must(t, os.WriteFile(path, program, 0o755))
	cmd := exec.Command(path)
	must(t, cmd.Start())
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	stat := func() string {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", cmd.Process.Pid))
		must(t, err)
		return string(data)
	}
	// Blocked in pause(2) or ppoll(2), and not running.
	for begun := time.Now(); time.Since(begun) < 10*time.Second; time.Sleep(time.Millisecond) {
		if s := stat(); strings.HasPrefix(s, "34 ") || strings.HasPrefix(s, "73 ") {
			return
		} else if s == "" {
			break
		}
	}
	t.Errorf("it is at %q", stat())
}

func TestUsage(t *testing.T) {
	var stderr bytes.Buffer
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-v"}, 0, ""},
		{[]string{"-namespace", "n", "start"}, 1, "-id"},
		{[]string{"-id", "c", "start"}, 1, "-namespace"},
		{[]string{"-id", "c", "-namespace", "n", "dance"}, 1, "dance"},
		{[]string{"-no-such-flag"}, 1, "no-such-flag"},
	} {
		stderr.Reset()
		if code := run(c.args, strings.NewReader(""), io.Discard, &stderr); code != c.code || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("%q: code %d, %q", c.args, code, stderr.String())
		}
	}
}
