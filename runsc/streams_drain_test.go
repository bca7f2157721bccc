package runsc

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/troupe-run/troupe/messages"
)

// TestGrandchildThatHoldsThePipe: the drain is bounded, and what the process
// wrote is all there (containerd#3286, containerd#12364).
func TestGrandchildThatHoldsThePipe(t *testing.T) {
	for name, grandchild := range map[string]string{
		"silent": "sleep 1000 &",
		"noisy":  "(while :; do echo noise; done) &",
	} {
		t.Run(name, func(t *testing.T) {
			var out lockedBuffer
			r := runScript(t, openIO(t, messages.Stdio{Pipes: messages.Pipes{Stdout: &out}}, nil), "head -c 60000 /dev/zero; echo tail; "+grandchild)
			r.wait()
			took := r.end()
			if took > 5*drainTimeout {
				t.Errorf("draining took %s with a timeout of %s", took, drainTimeout)
			}
			if !strings.Contains(out.String(), "tail\n") {
				t.Error("the tail is lost")
			}
		})
	}
}

// TestDrainAtTheEnd does not wait for any timeout.
func TestDrainAtTheEnd(t *testing.T) {
	for name, stdio := range map[string]messages.Stdio{
		"pipes":           {Pipes: messages.Pipes{Stdout: &lockedBuffer{}, Stderr: &lockedBuffer{}}},
		"terminal":        {Terminal: true, Pipes: messages.Pipes{Stdout: &lockedBuffer{}}},
		"nothing":         {},
		"logging program": {Stdout: program("exec 5>&-; cat <&3"), Stderr: program("exec 5>&-; cat <&3")},
	} {
		t.Run(name, func(t *testing.T) {
			st := openIO(t, stdio, nil)
			st.options.DrainTimeout = time.Minute
			r := runScript(t, st, "echo hello")
			r.wait()
			within(t, 10*time.Second, "draining", func() { r.end() })
		})
	}
}

// slow is a Writer that takes its time, and says nothing of it.
type slow struct {
	lockedBuffer
	each time.Duration
}

func (s *slow) Write(p []byte) (int, error) {
	time.Sleep(s.each)
	return s.lockedBuffer.Write(p)
}

// TestSlowReaderGetsItsTail: as long as it goes on reading, the drain goes on,
// for ten timeouts.
func TestSlowReaderGetsItsTail(t *testing.T) {
	to := &slow{each: 400 * time.Millisecond}
	st := openIO(t, messages.Stdio{Pipes: messages.Pipes{Stdout: to}}, nil)
	st.options.DrainTimeout = time.Second
	r := runScript(t, st, "head -c 150000 /dev/zero; echo tail")
	r.wait()
	r.end()
	if !strings.HasSuffix(to.String(), "tail\n") {
		t.Errorf("the tail is lost; %d bytes arrived", len(to.String()))
	}
}

// TestDrainEndsWithItsContext at once.
func TestDrainEndsWithItsContext(t *testing.T) {
	st := openIO(t, messages.Stdio{Pipes: messages.Pipes{Stdout: &lockedBuffer{}}}, nil)
	st.options.DrainTimeout = time.Minute
	runScript(t, st, "sleep 1000")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	within(t, 5*time.Second, "draining", func() { st.Drain(ctx) })
}
