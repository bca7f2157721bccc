package containerd

import (
	"bytes"
	"errors"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	eventtypes "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/troupe-run/troupe/bench/load"
	"github.com/troupe-run/troupe/messages"
)

// image-spec, config.md, "Layer ChainID": the digest of the chain below, a
// space and the layer's own digest. The expected one is of sha256sum.
func TestChainID(t *testing.T) {
	const a, b = "sha256:aaaa", "sha256:bbbb"
	if got := chainID([]string{a}); got != a {
		t.Errorf("one layer is %s", got)
	}
	const want = "sha256:2c4d8760379f05d0ad1ed610712309f0114e7345e6e6a351494cff030ffdf197"
	if got := chainID([]string{a, b}); got != want {
		t.Errorf("two layers are %s, want %s", got, want)
	}
	if got := chainID([]string{a, b, a}); got != chainID([]string{want, a}) {
		t.Errorf("three layers are %s, not the chain of two and one", got)
	}
}

func TestIsShim(t *testing.T) {
	for command, want := range map[string]bool{
		"/usr/bin/containerd-shim-runc-v2 -namespace bench -id load-0-0 -address /run/c.sock": true,
		"containerd-shim-runsc-v1 -namespace=bench --id=load-1-0 -address /run/c.sock":        true,
		"containerd-shim-runc-v2 -namespace other -id load-0-0":                               false,
		"containerd-shim-runc-v2 -namespace bench -id payload-0-0":                            false,
		"containerd-shim-runc-v2 -namespace bench -id loader":                                 false,
		"containerd-shim-runc-v2 -namespace bench -id":                                        false,
		"containerd -namespace bench -id load-0-0":                                            false,
	} {
		if got := isShim(strings.Fields(command), "bench", "load"); got != want {
			t.Errorf("%q is a shim of ours: %v", command, got)
		}
	}
	if isShim([]string{""}, "bench", "load") {
		t.Error("a kernel thread is a shim")
	}
}

func TestTranslate(t *testing.T) {
	at := time.Unix(7, 0).UTC()
	exec := messages.Process{Container: "c", Exec: "e"}
	for _, test := range []struct {
		topic string
		event proto.Message
		want  messages.Event
	}{
		{"/tasks/create", &eventtypes.TaskCreate{ContainerID: "c"}, messages.ContainerCreated{Container: "c"}},
		{"/tasks/start", &eventtypes.TaskStart{ContainerID: "c"}, messages.ContainerStarted{Container: "c"}},
		{"/tasks/exec-added", &eventtypes.TaskExecAdded{ContainerID: "c", ExecID: "e"}, messages.ExecAdded{Process: exec}},
		{"/tasks/exec-started", &eventtypes.TaskExecStarted{ContainerID: "c", ExecID: "e"}, messages.ExecStarted{Process: exec}},
		{"/tasks/exit", &eventtypes.TaskExit{ContainerID: "c", ID: "e", ExitStatus: 7, ExitedAt: timestamppb.New(at)},
			messages.ProcessExited{Process: exec, Exit: messages.Exit{Status: 7, At: at}}},
		{"/tasks/exit", &eventtypes.TaskExit{ContainerID: "c", ID: "c", ExitedAt: timestamppb.New(at)},
			messages.ProcessExited{Process: messages.Init("c"), Exit: messages.Exit{At: at}}},
		{"/tasks/delete", &eventtypes.TaskDelete{ContainerID: "c"}, messages.ProcessDeleted{Process: messages.Init("c")}},
		{"/tasks/delete", &eventtypes.TaskDelete{ContainerID: "c", ID: "e"}, messages.ProcessDeleted{Process: exec}},
		{"/tasks/paused", &eventtypes.TaskPaused{ContainerID: "c"}, nil},
	} {
		value, err := proto.Marshal(test.event)
		if err != nil {
			t.Fatal(err)
		}
		got := translate(&types.Envelope{Topic: test.topic, Event: &anypb.Any{Value: value}})
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s is %+v, want %+v", test.topic, got, test.want)
		}
	}
	if got := translate(&types.Envelope{Topic: "/tasks/exit", Event: &anypb.Any{Value: []byte{0xff}}}); got != nil {
		t.Errorf("what can not be read is %+v", got)
	}
}

func TestErrorKinds(t *testing.T) {
	for code, kind := range map[codes.Code]error{
		codes.NotFound: messages.NotFound, codes.DeadlineExceeded: messages.DeadlineExceeded, codes.Unknown: messages.Internal,
	} {
		err := about("start", messages.Process{Container: "c", Exec: "e"}, status.Error(code, "as said"))
		if messages.KindOf(err) != kind || err.Error() != "start c/e: as said" {
			t.Errorf("%v is %v with kind %v", code, err, messages.KindOf(err))
		}
	}
	if about("start", messages.Process{}, nil) != nil {
		t.Error("no error is one")
	}
}

// buffer can be written and read by two goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// A stream ends with all that was written, whether anybody wrote or not.
func TestStream(t *testing.T) {
	for _, size := range []int{0, 10, 1 << 20} {
		var out buffer
		s, err := openStream(t.TempDir(), load.Exec{Process: messages.Process{Container: "c", Exec: "e"}, Stdout: &out})
		if err != nil {
			t.Fatal(err)
		}
		if size > 0 {
			w, err := os.OpenFile(s.path, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.Write(make([]byte, size))
			if err := errors.Join(err, w.Close()); err != nil {
				t.Fatal(err)
			}
		}
		s.end()
		if out.b.Len() != size {
			t.Errorf("%d bytes arrived, %d were written", out.b.Len(), size)
		}
		if _, err := os.Stat(s.path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the FIFO is left: %v", err)
		}
	}
}

func TestDialNobody(t *testing.T) {
	_, err := Dial(t.Context(), Options{Address: t.TempDir() + "/none.sock", Image: "x"})
	if err == nil || !strings.Contains(err.Error(), "none.sock") || !strings.Contains(err.Error(), "socket of a containerd that runs") {
		t.Errorf("error %v", err)
	}
}
