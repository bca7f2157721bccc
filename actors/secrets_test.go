package actors_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/actors/lifecycle"
	"github.com/troupe-run/troupe/messages"
)

// journal is everything that was logged, as both of slog's handlers write it.
type journal chan string

func (j journal) Write(p []byte) (int, error) {
	j <- string(p)
	return len(p), nil
}

func (j journal) logger() *slog.Logger {
	options := &slog.HandlerOptions{Level: slog.LevelDebug}
	return slog.New(slog.NewMultiHandler(slog.NewTextHandler(j, options), slog.NewJSONHandler(j, options)))
}

// whole takes what was logged up to now.
func (j journal) whole() string {
	var b strings.Builder
	for len(j) > 0 {
		b.WriteString(<-j)
	}
	return b.String()
}

// The library logs messages that can not be delivered, whole; an exec's
// environment and arguments are in some. Nor may a panic, a driver that fails,
// or a call that comes too late tell them.
func TestSecretsNeverReachTheLog(t *testing.T) {
	const secret = "hunter2"
	j := make(journal, 10000)
	f := &fuse{}
	o := actors.Options{Logger: j.logger()}.WithFault(f.burn)
	run(t, o, func(b *bed) {
		b.runs("c", "d")
		exec := func(name string) messages.Exec {
			e := execOf(name, "sleep inf; echo "+secret)
			e.Spec.Env = []string{"PASSWORD=" + secret}
			return e
		}
		// Every message that an exec travels in, as a dead letter.
		for _, m := range actors.InFlight(exec("c/lost")) {
			b.rt.SendNowhere(m)
		}
		time.Sleep(2 * time.Second) // the library counts them before it logs more

		// Panics over its registration, its start and what becomes of it.
		for i, match := range []func(string, lifecycle.Input) bool{
			command("exec", "directory"), command("exec", "sandbox "), command("exec", "c#"),
			command("start", "c/"), input[lifecycle.Answer]("c/"),
		} {
			e := exec(fmt.Sprintf("c/%d", i))
			f.light(1, match)
			_, _ = try(b, e)
			_, _ = try(b, messages.Start{Process: e.Process})
		}
		// The driver fails, panics, hangs and comes too late.
		e := exec("d/late")
		ask(b, e)
		g := b.gate()
		b.driver.After(on("exec", "d/late", g.pass))
		refused(b, messages.Start{Process: e.Process}, messages.DeadlineExceeded)
		g.open()
		synctest.Wait()
		e = exec("d/bang")
		ask(b, e)
		b.driver.Before(on("exec", "", func(context.Context, messages.Incarnation) error { panic("bang") }))
		refused(b, messages.Start{Process: e.Process}, messages.Internal)
		b.driver.Before(nil)
		ask(b, killOf("d", syscall.SIGKILL))
		ask(b, waitOf("d"))
		if err := b.rt.Shutdown(b.soon(time.Hour)); err != nil {
			t.Error(err)
		}
		_, _ = try(b, exec("c/after")) // to a runtime that has ended
		time.Sleep(2 * time.Second)
	}, withoutEnd)

	log := j.whole()
	for _, want := range []string{"DeadLetter", "actor panicked", "driver panicked", "exec c/lost", "exec c/after"} {
		if !strings.Contains(log, want) {
			t.Errorf("nothing of %q in the log: the test is void", want)
		}
	}
	if i := strings.Index(log, secret); i >= 0 {
		t.Errorf("the log tells a secret: ...%s", log[max(0, i-500):i+len(secret)])
	}
}
