package runsc_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

// firstVar has the plan of a first program: this very binary, which makes what the
// plan says and then waits to be killed.
const firstVar = "TROUPE_TEST_FIRST"

// plan is what the first program makes, in this order.
type plan struct {
	Options runsc.Options
	Creates []messages.Create
	// Unstarted is a container that is created only.
	Unstarted messages.ContainerID
	Execs     []plannedExec
}

type plannedExec struct {
	Process messages.Process
	Args    []string
	Env     []string
	Stdio   messages.Stdio
	Closed  bool
}

func init() {
	text := os.Getenv(firstVar)
	if text == "" {
		return
	}
	var p plan
	err := json.Unmarshal([]byte(text), &p)
	if err == nil {
		err = p.perform()
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	select {}
}

func (p plan) perform() error {
	ctx := context.Background()
	driver, err := runsc.New(p.Options)
	if err != nil {
		return err
	}
	rt, err := actors.New(actors.Options{Driver: driver})
	if err != nil {
		return err
	}
	for _, c := range p.Creates {
		if _, err := actors.Ask(ctx, rt, c); err != nil {
			return err
		}
		if c.Container == p.Unstarted {
			continue
		}
		if _, err := actors.Ask(ctx, rt, messages.Start{Process: messages.Init(c.Container)}); err != nil {
			return err
		}
	}
	for _, e := range p.Execs {
		x := messages.Exec{Process: e.Process, Stdio: e.Stdio, Spec: messages.ExecSpec{Process: specs.Process{Args: e.Args, Env: append(e.Env, "PATH=/bin"), Cwd: "/", Terminal: e.Stdio.Terminal}}}
		if _, err := actors.Ask(ctx, rt, x); err != nil {
			return err
		}
		if _, err := actors.Ask(ctx, rt, messages.Start{Process: e.Process}); err != nil {
			return err
		}
		if e.Closed {
			if _, err := actors.Ask(ctx, rt, messages.CloseIO{Process: e.Process}); err != nil {
				return err
			}
		}
	}
	return nil
}

// first is a first program that has done its part.
type first struct {
	cmd *exec.Cmd
}

// startFirst starts a first program and returns when its plan is done.
func (s *stage) startFirst(p plan) *first {
	s.t.Helper()
	p.Options = s.options
	text, err := json.Marshal(p)
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), firstVar+"="+string(text))
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	f := &first{cmd}
	s.t.Cleanup(f.kill)
	late := time.AfterFunc(60*time.Second, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		s.t.Fatalf("the first program said %q, %v", line, err)
	}
	return f
}

// kill kills it with SIGKILL, so that it can do nothing more.
func (f *first) kill() {
	if f.cmd.ProcessState == nil {
		_ = f.cmd.Process.Kill()
		_ = f.cmd.Wait()
	}
}

// second is a runtime after the first program's.
type second struct {
	*actors.Runtime
	t      testing.TB
	driver *runsc.Driver
	events *actors.Subscription
}

func (s *stage) startSecond() *second {
	s.t.Helper()
	driver, err := runsc.New(s.options)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.startSecondWith(driver)
}

func (s *stage) startSecondWith(driver *runsc.Driver) *second {
	s.t.Helper()
	rt, err := actors.New(actors.Options{Driver: driver})
	if err != nil {
		s.t.Fatal(err)
	}
	r := &second{rt, s.t, driver, rt.Subscribe(0)}
	s.t.Cleanup(r.end)
	return r
}

func (r *second) end() {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if err := r.Shutdown(ctx); err != nil {
		r.t.Error(err)
	}
}

// adopt takes charge of everything, and checks that this is what was wanted, in
// this order.
func (r *second) adopt(want ...string) map[string]messages.Survivor {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	all, err := r.Adopt(ctx)
	if err != nil {
		r.t.Fatalf("adopt: %v", err)
	}
	var got []string
	by := map[string]messages.Survivor{}
	for _, s := range all {
		got = append(got, s.Process.String())
		by[s.Process.String()] = s
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		r.t.Fatalf("what was adopted is %q, want %q", got, want)
	}
	return by
}

func ask2[R messages.Reply](r *second, c messages.Command[R]) R {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	reply, err := actors.Ask(ctx, r.Runtime, c)
	if err != nil {
		r.t.Fatalf("%s %s: %v", c.Verb(), c.Target(), err)
	}
	return reply
}

// wantExit waits for a process and checks its exit: one that was seen has no
// reason, and one that was not has one.
func (r *second) wantExit(p messages.Process, status int) {
	r.t.Helper()
	e := ask2(r, messages.Wait{Process: p}).Exit
	if e.Status != status || (e.Reason == "") != (status != messages.ExitUnknown) {
		r.t.Errorf("%s exited with %d (%q), want %d", p, e.Status, e.Reason, status)
	}
}

// wantUnseen waits for a process that ended while nobody was there. Its status is
// lost, unless the runsc that stood for it is not reaped yet.
func (r *second) wantUnseen(p messages.Process, status int, byCLI bool) {
	r.t.Helper()
	e := ask2(r, messages.Wait{Process: p}).Exit
	if lost := e.Status == messages.ExitUnknown && e.Reason != ""; !lost && !(byCLI && e.Status == status) {
		r.t.Errorf("%s exited with %d (%q), want it to be lost", p, e.Status, e.Reason)
	}
}

// exits counts the exits that were told, when the runtime has ended.
func (r *second) exits() map[messages.Process]int {
	told := map[messages.Process]int{}
	for e := range r.events.Events() {
		if x, ok := e.(messages.ProcessExited); ok {
			told[x.Process]++
		}
	}
	return told
}

// wantNothing checks that no file, process or mount is left.
func (s *stage) wantNothing() {
	s.t.Helper()
	if left := s.files(); len(left) > 0 {
		s.t.Errorf("files are left: %q", left)
	}
	s.until(func() bool { return len(s.processes()) == 0 })
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, s.dir) && !strings.Contains(line, "null-netns") {
			s.t.Errorf("a mount is left: %s", line)
		}
	}
}

// waiting is a process that exits with a status once there is a file of that name
// in its container's /tmp.
func waiting(status int) []string {
	return []string{"sh", "-c", fmt.Sprintf("while [ ! -e /tmp/%d ]; do sleep 0.05; done; exit %d", status, status)}
}

// let makes such a file, by runsc alone.
func (s *stage) let(id string, status int) {
	s.t.Helper()
	spec := specs.Process{Args: []string{"sh", "-c", fmt.Sprintf(": > /tmp/%d", status)}, Env: []string{"PATH=/bin"}, Cwd: "/"}
	if code, err := s.Client().Exec(s.context(), id, spec, nil); code != 0 || err != nil {
		s.t.Fatalf("exec in %s: %d, %v", id, code, err)
	}
}

// awaitFile waits for a file in a container, by runsc alone.
func (s *stage) awaitFile(id, path string) {
	s.t.Helper()
	spec := specs.Process{Args: []string{"sh", "-c", "while [ ! -s " + path + " ]; do sleep 0.05; done"}, Env: []string{"PATH=/bin"}, Cwd: "/"}
	ctx, cancel := context.WithTimeout(s.context(), 20*time.Second)
	defer cancel()
	if code, err := s.Client().Exec(ctx, id, spec, nil); code != 0 || err != nil {
		s.t.Fatalf("%s of %s is not there: %d, %v", path, id, code, err)
	}
}

// letEnd lets a process exit and waits until it is gone.
func (s *stage) letEnd(id string, guest, status int) {
	s.t.Helper()
	s.let(id, status)
	s.until(func() bool {
		pids, err := s.Client().Ps(s.context(), id)
		return err == nil && !slices.Contains(pids, guest)
	})
}
