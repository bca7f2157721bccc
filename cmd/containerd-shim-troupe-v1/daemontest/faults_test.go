package daemontest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	ttrpcevents "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
)

// atOnce is how many execs a load has at once.
const atOnce = 4

// story checks the order of events: an exec is added, then starts, then exits,
// each once, and nothing of a container comes after its init's exit.
type story struct {
	mu    sync.Mutex
	steps map[string]int
	first map[string]int
	over  map[string]bool
	wrong []string
	// fromMiddle: the first event of an exec may be any of its three.
	fromMiddle bool
}

func newStory(fromMiddle bool) *story {
	return &story{steps: map[string]int{}, first: map[string]int{}, over: map[string]bool{}, fromMiddle: fromMiddle}
}

// take takes the next event as describe has it.
func (s *story) take(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	words := strings.Fields(line)
	step := map[string]int{"exec-added": 1, "exec-started": 2, "exit": 3}[words[0]]
	if step == 0 {
		return
	}
	who := words[1]
	container, exec, _ := strings.Cut(who, "/")
	if container == exec {
		// containerd tells one more of a shim that is gone.
		s.over[container] = true
		s.steps[who] = step
		return
	}
	last, known := s.steps[who]
	if s.over[container] || step != last+1 && (known || !s.fromMiddle) {
		s.wrong = append(s.wrong, fmt.Sprintf("%s comes after step %d of it; init's exit was told: %v", line, last, s.over[container]))
	}
	if !known {
		s.first[who] = step
	}
	s.steps[who] = step
}

// whole tells whether all three events of an exec were told.
func (s *story) whole(who string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first[who] == 1 && s.steps[who] == 3
}

// exited tells whether the exit of a process was told.
func (s *story) exited(who string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.steps[who] == 3
}

func (s *story) check(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.wrong {
		t.Error(w)
	}
}

// TestStoryFindsDisorder is the check of the check.
func TestStoryFindsDisorder(t *testing.T) {
	for name, lines := range map[string][]string{
		"exit before start":    {"exec-added c/e", "exit c/e 0", "exec-started c/e"},
		"two exits":            {"exec-added c/e", "exec-started c/e", "exit c/e 0", "exit c/e 0"},
		"added late":           {"exec-started c/e", "exec-added c/e"},
		"after the init's end": {"exec-added c/e", "exec-started c/e", "exit c/c 137", "exit c/e 137"},
	} {
		s := newStory(name == "added late")
		for _, line := range lines {
			s.take(line)
		}
		if len(s.wrong) == 0 {
			t.Errorf("%s: nothing was found", name)
		}
	}
	s := newStory(false)
	for _, line := range []string{"create c", "start c", "exec-added c/e", "exec-started c/e", "exit c/e 0", "exit c/c 0", "delete c 0"} {
		s.take(line)
	}
	s.check(t)
}

// follow feeds a story with what containerd tells from now on.
func follow(t *testing.T, ctx context.Context, c *client.Client) *story {
	s, r := newStory(false), record(t, ctx, c)
	go func() {
		for {
			select {
			case line := <-r.lines:
				s.take(line)
			case <-ctx.Done():
				return
			}
		}
	}()
	return s
}

// burden is a load of short execs.
type burden struct {
	quit    chan struct{}
	workers sync.WaitGroup
	whole   atomic.Int64
}

// bear runs one exec after the other, atOnce at once, until end, or until one
// fails, which is told to failed.
func bear(one func(id string) error, failed func(error)) *burden {
	b := &burden{quit: make(chan struct{})}
	for i := range atOnce {
		b.workers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-b.quit:
					return
				default:
				}
				if err := one(fmt.Sprintf("load%d-%d", i, n)); err != nil {
					failed(err)
					return
				}
				b.whole.Add(1)
			}
		})
	}
	return b
}

// await waits for n more execs to end.
func (b *burden) await(t *testing.T, n int64) {
	t.Helper()
	want := b.whole.Load() + n
	eventually(t, "the load goes on", func() error {
		if have := b.whole.Load(); have < want {
			return fmt.Errorf("%d of %d execs have ended", have, want)
		}
		return nil
	})
}

// ended waits for the workers.
func (b *burden) ended(t *testing.T) {
	t.Helper()
	done := make(chan struct{})
	go func() { b.workers.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("an exec of the load has no exit and no error")
	}
}

func (b *burden) end(t *testing.T) {
	t.Helper()
	close(b.quit)
	b.ended(t)
}

var loadProcess = &specs.Process{Args: []string{"/bin/sh", "-c", "exit 3"}, Cwd: "/", Env: []string{"PATH=/bin"}}

// byContainerd is one exec of a load through containerd.
func byContainerd(ctx context.Context, of client.Task) func(id string) error {
	return func(id string) error {
		p, err := of.Exec(ctx, id, loadProcess, cio.NullIO)
		if err != nil {
			return err
		}
		exits, err := p.Wait(ctx)
		if err != nil {
			return err
		}
		if err := p.Start(ctx); err != nil {
			return err
		}
		status := <-exits
		if err := status.Error(); err != nil {
			return err
		}
		if status.ExitCode() != 3 {
			return fmt.Errorf("%s exited with %d, want 3", id, status.ExitCode())
		}
		_, err = p.Delete(ctx)
		return err
	}
}

// TestShimKilledUnderLoad kills a shim by SIGKILL while execs come and go. Each
// of them has an answer in bounded time, containerd tells the container's exit
// and forgets it, the sandbox goes with it (see checkClean), and another shim's
// container goes on.
func TestShimKilledUnderLoad(t *testing.T) {
	eachDaemon(t, func(t *testing.T, d *daemon) {
		ctx, c := d.client(t)
		told := follow(t, ctx, c)
		_, doomed, exits := sleeper(t, ctx, c, "doomed")
		_, other, _ := sleeper(t, ctx, c, "other")
		var struck atomic.Bool
		here := bear(byContainerd(ctx, doomed), func(err error) {
			if !struck.Load() {
				t.Errorf("in doomed: %v", err)
			}
		})
		there := bear(byContainerd(ctx, other), func(err error) { t.Errorf("in other: %v", err) })
		here.await(t, 8)
		struck.Store(true)
		killShim(t, "doomed")
		here.ended(t)
		select {
		case <-exits:
		case <-time.After(patience):
			t.Error("the wait for the container has no answer")
		}
		eventually(t, "the container's exit is told", func() error {
			if !told.exited("doomed/doomed") {
				return errors.New("it is not")
			}
			return nil
		})
		forgotten(t, ctx, c, "doomed")
		there.await(t, 8)
		there.end(t)
		told.check(t)
	})
}

// socketOf is the socket of a container's shim.
func (d *daemon) socketOf(t *testing.T, id string) string {
	t.Helper()
	address, err := os.ReadFile(filepath.Join(d.Dir, "state/io.containerd.runtime.v2.task", namespace, id, "address"))
	must(t, err)
	return strings.TrimPrefix(string(address), "unix://")
}

// direct is a client of the shim, past containerd.
type direct struct {
	task.TTRPCTaskService
	*ttrpc.Client
}

func dial(socket string) (direct, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return direct{}, err
	}
	c := ttrpc.NewClient(conn)
	return direct{task.NewTTRPCTaskClient(c), c}, nil
}

// add registers an exec.
func (d direct) add(ctx context.Context, container, exec string, p *specs.Process) error {
	spec, err := typeurl.MarshalAny(p)
	if err != nil {
		return err
	}
	_, err = d.Exec(ctx, &task.ExecProcessRequest{ID: container, ExecID: exec, Spec: &anypb.Any{TypeUrl: spec.GetTypeUrl(), Value: spec.GetValue()}})
	return err
}

// byShim is one exec of a load past containerd.
func byShim(ctx context.Context, shim direct, container string) func(id string) error {
	return func(id string) error {
		if err := shim.add(ctx, container, id, loadProcess); err != nil {
			return err
		}
		if _, err := shim.Start(ctx, &task.StartRequest{ID: container, ExecID: id}); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		exit, err := shim.Wait(ctx, &task.WaitRequest{ID: container, ExecID: id})
		if err != nil {
			return err
		}
		if exit.ExitStatus != 3 {
			return fmt.Errorf("%s exited with %d, want 3", id, exit.ExitStatus)
		}
		_, err = shim.Delete(ctx, &task.DeleteRequest{ID: container, ExecID: id})
		return err
	}
}

// TestClientsVanish has 64 clients connect to a shim, ask and vanish before the
// answer, while others work. What they began ends as it should, and the shim has
// as many goroutines and descriptors as before.
func TestClientsVanish(t *testing.T) {
	eachDaemon(t, func(t *testing.T, d *daemon) {
		ctx, c := d.client(t)
		sleeper(t, ctx, c, "asked")
		socket, pid := d.socketOf(t, "asked"), shimOf(t, "asked")
		shim, err := dial(socket)
		must(t, err)
		defer shim.Close()
		one := byShim(ctx, shim, "asked")
		load := func() *burden { return bear(one, func(err error) { t.Errorf("the load: %v", err) }) }
		warm := load()
		warm.await(t, 16)
		warm.end(t)
		// A load's names are used again.
		settled := atRest(t, d, pid)

		work := load()
		var clients sync.WaitGroup
		for i := range 64 {
			clients.Go(func() { vanish(t, socket, i) })
		}
		clients.Wait()
		work.await(t, 8)
		work.end(t)
		for i := range 64 {
			release(t, ctx, shim, fmt.Sprintf("gone%d", i))
		}
		eventually(t, "the shim is as before", func() error {
			if now := measure(t, d, pid); now.goroutines > settled.goroutines || now.descriptors > settled.descriptors {
				return fmt.Errorf("it has %+v, before %+v", now, settled)
			}
			return nil
		})
		t.Logf("%+v", settled)
	})
}

// vanish asks, and closes the connection with the question on its way.
func vanish(t *testing.T, socket string, i int) {
	shim, err := dial(socket)
	if err != nil {
		t.Errorf("client %d: %v", i, err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	id := fmt.Sprintf("gone%d", i)
	var asked sync.WaitGroup
	switch i % 3 {
	case 0:
		asked.Go(func() { shim.Wait(ctx, &task.WaitRequest{ID: "asked"}) })
	case 1:
		asked.Go(func() { shim.State(ctx, &task.StateRequest{ID: "asked"}) })
	case 2:
		if err := shim.add(ctx, "asked", id, loadProcess); err != nil {
			t.Errorf("client %d: %v", i, err)
		}
		asked.Go(func() { shim.Wait(ctx, &task.WaitRequest{ID: "asked", ExecID: id}) })
		asked.Go(func() { shim.Start(ctx, &task.StartRequest{ID: "asked", ExecID: id}) })
	}
	// Some questions are read by then, and some are not.
	time.Sleep(time.Duration(i%8) * time.Millisecond)
	shim.Close()
	asked.Wait()
}

// release deletes an exec of a client that has vanished, if it came to be.
func release(t *testing.T, ctx context.Context, shim direct, id string) {
	t.Helper()
	eventually(t, id+" can be deleted", func() error {
		_, err := shim.Delete(ctx, &task.DeleteRequest{ID: "asked", ExecID: id})
		if errdefs.IsNotFound(errgrpc.ToNative(err)) {
			return nil
		}
		return err
	})
}

// shimOf is the pid of the shim of a container.
func shimOf(t *testing.T, id string) int {
	t.Helper()
	for _, p := range processes(t) {
		if strings.Contains(p.command, "shim-troupe") && strings.Contains(p.command, "-id "+id+" ") {
			return p.pid
		}
	}
	t.Fatalf("there is no shim of %s", id)
	return 0
}

// held is what a shim holds.
type held struct{ goroutines, descriptors int }

var goroutine = regexp.MustCompile(`goroutine \d+ \[`)

// measure has the shim log its stacks, into containerd's log.
func measure(t *testing.T, d *daemon, pid int) (h held) {
	t.Helper()
	before, err := os.Stat(d.log.Name())
	must(t, err)
	must(t, syscall.Kill(pid, syscall.SIGUSR1))
	eventually(t, "the shim logs its stacks", func() error {
		data, err := os.ReadFile(d.log.Name())
		must(t, err)
		_, stacks, found := strings.Cut(string(data[before.Size():]), "stacks of all goroutines")
		stacks, _, ended := strings.Cut(stacks, "\n")
		if !found || !ended {
			return errors.New("not yet")
		}
		h.goroutines = len(goroutine.FindAllString(stacks, -1))
		return nil
	})
	if h.goroutines == 0 {
		t.Fatal("no goroutine was counted: the test is void")
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	must(t, err)
	h.descriptors = len(fds)
	return h
}

// atRest measures a shim when nothing is under way.
func atRest(t *testing.T, d *daemon, pid int) (h held) {
	t.Helper()
	h = measure(t, d, pid)
	eventually(t, "the shim is at rest", func() error {
		last := h
		time.Sleep(200 * time.Millisecond)
		if h = measure(t, d, pid); h != last {
			return fmt.Errorf("it has %+v, and had %+v", h, last)
		}
		return nil
	})
	return h
}

// standIn takes a shim's events in containerd's place.
type standIn struct{ *story }

func (s standIn) Forward(_ context.Context, r *ttrpcevents.ForwardRequest) (*emptypb.Empty, error) {
	s.take(describe(&events.Envelope{Topic: r.Envelope.Topic, Event: r.Envelope.Event}))
	return &emptypb.Empty{}, nil
}

// TestContainerdKilledUnderLoad kills containerd by SIGKILL while execs come and
// go, which here do not come through it. The shim goes on; when somebody listens
// where containerd did, every event of the time between comes, in order; and the
// containerd that is started then has the container and its processes, with the
// exits of those that ended meanwhile.
func TestContainerdKilledUnderLoad(t *testing.T) {
	eachDaemon(t, func(t *testing.T, d *daemon) {
		ctx, c := d.client(t)
		_, stays, _ := sleeper(t, ctx, c, "stays")
		long, err := stays.Exec(ctx, "long", &specs.Process{Args: []string{"/bin/sh", "-c", "sleep 1; exit 9"}, Cwd: "/", Env: []string{"PATH=/bin"}}, cio.NullIO)
		must(t, err)
		shim, err := dial(d.socketOf(t, "stays"))
		must(t, err)
		defer shim.Close()
		var away atomic.Bool
		between := make(chan string, 10_000)
		one := byShim(ctx, shim, "stays")
		work := bear(func(id string) error {
			begun := away.Load()
			err := one(id)
			if begun && away.Load() {
				between <- "stays/" + id
			}
			return err
		}, func(err error) { t.Errorf("the load: %v", err) })
		work.await(t, 4)
		must(t, long.Start(ctx))

		must(t, d.cmd.Process.Kill())
		d.cmd.Wait()
		d.cmd = nil
		away.Store(true)
		work.await(t, 40)

		listening := listenIn(t, d)
		work.await(t, 8)
		away.Store(false)
		for range len(between) {
			who := <-between
			eventually(t, "the events of "+who+" come", func() error {
				if !listening.whole(who) {
					return errors.New("not all of them")
				}
				return nil
			})
		}
		eventually(t, "the exit of what was there before comes", func() error {
			if !listening.exited("stays/long") {
				return errors.New("it has not")
			}
			return nil
		})
		listening.stop()
		listening.check(t)

		d.start(t)
		work.await(t, 8)
		ctx, c = d.client(t)
		container, err := c.LoadContainer(ctx, "stays")
		must(t, err)
		again, err := container.Task(ctx, nil)
		must(t, err)
		old, err := again.LoadProcess(ctx, "long", nil)
		must(t, err)
		exits, err := old.Wait(ctx)
		must(t, err)
		if code := exit(t, ctx, old, exits); code != 9 {
			t.Errorf("what ended meanwhile exited with %d", code)
		}
		work.await(t, 8)
		work.end(t)
		if code, _ := execute(t, ctx, again, "new", "/bin/true"); code != 0 {
			t.Errorf("a new exec exited with %d", code)
		}
	})
}

type listening struct {
	standIn
	stop func()
}

// listenIn listens for events where containerd did.
func listenIn(t *testing.T, d *daemon) listening {
	t.Helper()
	s := standIn{newStory(true)}
	server, err := ttrpc.NewServer()
	must(t, err)
	ttrpcevents.RegisterTTRPCEventsService(server, s)
	// The dead daemon has left its socket.
	must(t, os.Remove(d.TTRPC))
	l, err := net.Listen("unix", d.TTRPC)
	must(t, err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		server.Serve(context.Background(), l)
	}()
	return listening{s, func() {
		must(t, server.Close())
		<-served
	}}
}
