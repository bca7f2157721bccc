package lifecycle

import "math/rand/v2"

// dice makes the choices of a world: from a seed, or from the bytes of a fuzzer,
// so that either replays exactly.
type dice struct {
	seeded *rand.Rand
	bytes  []byte
}

func seeded(seed uint64) *dice { return &dice{seeded: rand.New(rand.NewPCG(seed, 0))} }

// roll chooses one of n, at most 256.
func (d *dice) roll(n int) int {
	if d.seeded != nil {
		return d.seeded.IntN(n)
	}
	if len(d.bytes) == 0 {
		return 0
	}
	b := d.bytes[0]
	d.bytes = d.bytes[1:]
	return int(b) % n
}

// one is true once in n times. A fuzzer's bytes that have run out say no.
func (d *dice) one(n int) bool { return d.roll(n) == n-1 }

// over tells that a fuzzer's bytes have run out.
func (d *dice) over() bool { return d.seeded == nil && len(d.bytes) == 0 }

func pickOne[T any](d *dice, from []T) T { return from[d.roll(len(from))] }
