package load

import (
	"errors"
	"fmt"
	"time"
)

// Options say what load is made. Zero is the default where one is named.
type Options struct {
	// Sandboxes at once. Default 1.
	Sandboxes int `json:"sandboxes"`
	// Containers of each sandbox (a pod). Default 1.
	Containers int `json:"containers"`
	// AtOnce is how many execs are kept alive, over all containers. Default 8.
	AtOnce int `json:"at_once"`

	// Duration and Count end the load, whichever comes first. Neither: 10 s.
	Duration time.Duration `json:"duration_ns"`
	Count    int           `json:"count"`

	// Mix of commands. Default: true only.
	Mix Mix `json:"mix"`
	// OutputBytes is what each output command writes. Default 64 KiB.
	OutputBytes int64 `json:"output_bytes"`
	// Lifetime of a sleep, and of an exec that is killed, from half to one and
	// a half of it. Default 50 ms.
	Lifetime time.Duration `json:"lifetime_ns"`
	// Killed is the share of execs, from 0 to 1, that sleep and are killed.
	Killed float64 `json:"killed"`
	// Cancelled is the share whose start the client gives up, within Patience.
	Cancelled float64 `json:"cancelled"`
	// Patience is the longest that a cancelled start is waited for. Default
	// 5 ms.
	Patience time.Duration `json:"patience_ns"`
	// Terminal is the share with a terminal.
	Terminal float64 `json:"terminal"`

	// Seed of all that is drawn. Default 1.
	Seed uint64 `json:"seed"`
	// Prefix of the ids of containers, which are PREFIX-SANDBOX-CONTAINER.
	// Default "load".
	Prefix string `json:"prefix"`
	// Interval between samples of throughput and memory. Default: 120 samples
	// in Duration, but 250 ms at least and 10 s at most.
	Interval time.Duration `json:"interval_ns"`
	// CallTimeout bounds every call to the target. Default 1 min.
	CallTimeout time.Duration `json:"call_timeout_ns"`

	// Leaks looks for what grows (see [FindLeaks]) and for what is not back
	// after the load where it was before. What is left when all is deleted is
	// always looked for.
	Leaks bool `json:"leaks"`

	// Progress is told of every sample as it is taken, in one goroutine. Nil:
	// nobody is.
	Progress func(Progress) `json:"-"`
	// ProgressInterval is how often. Default: every sample.
	ProgressInterval time.Duration `json:"-"`
}

// complete fills in the defaults; its error names every field that is wrong.
func (o *Options) complete() error {
	var bad []error
	wrong := func(format string, args ...any) { bad = append(bad, fmt.Errorf(format, args...)) }
	atLeastOne := func(name string, n *int, def, most int) {
		switch {
		case *n == 0:
			*n = def
		case *n < 0 || *n > most:
			wrong("%s is %d: use 1 to %d", name, *n, most)
		}
	}
	duration := func(name string, d *time.Duration, def time.Duration) {
		switch {
		case *d == 0:
			*d = def
		case *d < 0:
			wrong("%s is negative: %v", name, *d)
		}
	}
	share := func(name string, f float64) {
		if !(f >= 0 && f <= 1) {
			wrong("%s is %v: use a share from 0 to 1", name, f)
		}
	}
	atLeastOne("Sandboxes", &o.Sandboxes, 1, 1000)
	atLeastOne("Containers", &o.Containers, 1, 100)
	atLeastOne("AtOnce", &o.AtOnce, 8, 10_000)
	if o.Count < 0 {
		wrong("Count is negative: %d", o.Count)
	}
	if o.Count == 0 {
		duration("Duration", &o.Duration, 10*time.Second)
	} else {
		duration("Duration", &o.Duration, 0)
	}
	if len(o.Mix) == 0 {
		o.Mix = Mix{True: 1}
	}
	if err := o.Mix.check(); err != nil {
		wrong("Mix: %w", err)
	}
	if o.OutputBytes == 0 {
		o.OutputBytes = 64 << 10
	}
	if o.OutputBytes < 0 {
		wrong("OutputBytes is negative: %d", o.OutputBytes)
	}
	duration("Lifetime", &o.Lifetime, 50*time.Millisecond)
	duration("Patience", &o.Patience, 5*time.Millisecond)
	duration("CallTimeout", &o.CallTimeout, time.Minute)
	interval := min(max(o.Duration/120, 250*time.Millisecond), 10*time.Second)
	if o.Duration == 0 {
		interval = time.Second
	}
	duration("Interval", &o.Interval, interval)
	duration("ProgressInterval", &o.ProgressInterval, o.Interval)
	share("Killed", o.Killed)
	share("Cancelled", o.Cancelled)
	share("Terminal", o.Terminal)
	if o.Killed+o.Cancelled > 1 {
		wrong("Killed and Cancelled are together more than 1")
	}
	if o.Seed == 0 {
		o.Seed = 1
	}
	if o.Prefix == "" {
		o.Prefix = "load"
	}
	return errors.Join(bad...)
}

// Validate names every field that is wrong.
func (o Options) Validate() error { return o.complete() }
