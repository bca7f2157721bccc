package load

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The commands that a mix can name.
const (
	// True is over at once.
	True = "true"
	// Sleep lives for [Options.Lifetime].
	Sleep = "sleep"
	// Output writes [Options.OutputBytes] and ends.
	Output = "output"
)

// Mix says how often each command is drawn, by its weight.
type Mix map[string]int

// ParseMix reads "true=70,sleep=20,output=10". A name without a number has the
// weight 1.
func ParseMix(s string) (Mix, error) {
	m := Mix{}
	for part := range strings.SplitSeq(s, ",") {
		name, number, weighted := strings.Cut(strings.TrimSpace(part), "=")
		weight := 1
		if weighted {
			var err error
			if weight, err = strconv.Atoi(number); err != nil || weight < 0 || weight > 1_000_000 {
				return nil, fmt.Errorf("weight %q of %q is not a number from 0 to 1000000", number, name)
			}
		}
		if _, twice := m[name]; twice {
			return nil, fmt.Errorf("%q is there twice", name)
		}
		m[name] = weight
	}
	return m, m.check()
}

func (m Mix) check() error {
	total := 0
	for name, weight := range m {
		if !slices.Contains([]string{True, Sleep, Output}, name) {
			return fmt.Errorf("%q is none of the commands true, sleep, output", name)
		}
		total += weight
	}
	if total == 0 {
		return errors.New("the mix has no command: use for example true=70,sleep=20,output=10")
	}
	return nil
}

// String is what ParseMix reads.
func (m Mix) String() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s=%d", name, m[name]))
	}
	return strings.Join(parts, ",")
}

func (m Mix) draw(r *rand.Rand) string {
	total := 0
	for _, weight := range m {
		total += weight
	}
	n := r.IntN(total)
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if n -= m[name]; n < 0 {
			return name
		}
	}
	return True
}

// plan is what one exec is to do and to suffer.
type plan struct {
	command  string
	args     []string
	terminal bool
	// output is how many bytes it writes.
	output int64
	// kill: it sleeps until it is killed after its lifetime.
	kill bool
	// cancel: its start is given up by the client after patience.
	cancel   bool
	patience time.Duration
	lifetime time.Duration
}

// draw decides about the next exec.
func (o *Options) draw(r *rand.Rand) plan {
	p := plan{command: o.Mix.draw(r), terminal: r.Float64() < o.Terminal}
	switch fate := r.Float64(); {
	case fate < o.Killed:
		p.kill, p.command = true, Sleep
	case fate < o.Killed+o.Cancelled:
		p.cancel = true
		// Anywhere between "not taken up yet" and "has begun".
		p.patience = time.Duration(r.Float64() * float64(o.Patience))
	}
	// Around the lifetime, so that exits do not come in step.
	p.lifetime = time.Duration((0.5 + r.Float64()) * float64(o.Lifetime))
	switch p.command {
	case Sleep:
		seconds := p.lifetime.Seconds()
		if p.kill {
			// Long enough that only the kill ends it.
			seconds = 3600
		}
		p.args = []string{"sleep", strconv.FormatFloat(seconds, 'f', 3, 64)}
	case Output:
		p.output = o.OutputBytes
		p.args = []string{"head", "-c", strconv.FormatInt(o.OutputBytes, 10), "/dev/zero"}
	default:
		p.args = []string{"true"}
	}
	return p
}
