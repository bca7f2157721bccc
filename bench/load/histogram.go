package load

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"slices"
	"time"
)

// Buckets are linear within each power of two, as HdrHistogram's: 32 in each,
// so that a value is known to 1 part in 32 over the whole range of a Duration.
const (
	bucketBits   = 5
	perOctave    = 1 << bucketBits
	octaves      = 64 - bucketBits
	bucketsTotal = octaves * perOctave
)

// Histogram counts durations. Its zero value is empty. It is not for use by
// several goroutines at once.
type Histogram struct {
	counts []uint64 // nil, or bucketsTotal long
	count  uint64
	sum    time.Duration
	min    time.Duration
	max    time.Duration
}

// bucketOf is the bucket of a duration in nanoseconds. Below perOctave every
// nanosecond has its own.
func bucketOf(d time.Duration) int {
	v := uint64(max(d, 0))
	if v < perOctave {
		return int(v)
	}
	shift := bits.Len64(v) - bucketBits - 1
	return shift*perOctave + int(v>>shift)
}

// bucketFloor is the smallest duration of a bucket.
func bucketFloor(i int) time.Duration {
	if i < perOctave {
		return time.Duration(i)
	}
	shift := i/perOctave - 1
	return time.Duration(uint64(i-shift*perOctave) << shift)
}

// Add counts one duration. A negative one counts as zero.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	if h.counts == nil {
		h.counts = make([]uint64, bucketsTotal)
		h.min = d
	}
	h.counts[bucketOf(d)]++
	h.count++
	h.sum += d
	h.min, h.max = min(h.min, d), max(h.max, d)
}

// Merge adds what o has counted.
func (h *Histogram) Merge(o *Histogram) {
	if o.count == 0 {
		return
	}
	if h.counts == nil {
		h.counts = make([]uint64, bucketsTotal)
		h.min = o.min
	}
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.count += o.count
	h.sum += o.sum
	h.min, h.max = min(h.min, o.min), max(h.max, o.max)
}

// Count is how many durations were added.
func (h *Histogram) Count() uint64 { return h.count }

// Min and Max are exact; both are zero for an empty histogram.
func (h *Histogram) Min() time.Duration { return h.min }

// Max is the longest duration, exact.
func (h *Histogram) Max() time.Duration { return h.max }

// Mean is exact.
func (h *Histogram) Mean() time.Duration {
	if h.count == 0 {
		return 0
	}
	return h.sum / time.Duration(h.count)
}

// Quantile is the duration that a share q (0 to 1) of all do not exceed, within
// a bucket's width. It is zero for an empty histogram.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.count == 0 {
		return 0
	}
	rank := uint64(q * float64(h.count))
	if float64(rank) < q*float64(h.count) {
		rank++
	}
	rank = min(max(rank, 1), h.count)
	var seen uint64
	for i, n := range h.counts {
		if seen += n; seen >= rank {
			// The middle of the bucket, but never outside of what was seen.
			middle := bucketFloor(i) + (bucketFloor(i+1)-bucketFloor(i))/2
			return min(max(middle, h.min), h.max)
		}
	}
	return h.max
}

// Bucket is one of a histogram's, for plots: Count durations from From to
// before To.
type Bucket struct {
	From, To time.Duration
	Count    uint64
}

// Buckets joins the fine buckets to n for each power of two (1, 2, 4, 8, 16 or
// 32), from the first to the last that is not empty.
func (h *Histogram) Buckets(n int) []Bucket {
	if h.count == 0 {
		return nil
	}
	step := perOctave / n
	first, last := bucketOf(h.min)/step, bucketOf(h.max)/step
	out := make([]Bucket, 0, last-first+1)
	for i := first; i <= last; i++ {
		b := Bucket{From: bucketFloor(i * step), To: bucketFloor((i + 1) * step)}
		for _, c := range h.counts[i*step : (i+1)*step] {
			b.Count += c
		}
		out = append(out, b)
	}
	return out
}

// histogramJSON has only the buckets that are not empty: [index, count].
type histogramJSON struct {
	Count   uint64      `json:"count"`
	SumNS   int64       `json:"sum_ns"`
	MinNS   int64       `json:"min_ns"`
	MaxNS   int64       `json:"max_ns"`
	Buckets [][2]uint64 `json:"buckets"`
}

// MarshalJSON writes the counts, so that reports can be merged and read again.
func (h Histogram) MarshalJSON() ([]byte, error) {
	out := histogramJSON{
		Count: h.count, SumNS: int64(h.sum), MinNS: int64(h.min), MaxNS: int64(h.max),
		Buckets: [][2]uint64{},
	}
	for i, n := range h.counts {
		if n > 0 {
			out.Buckets = append(out.Buckets, [2]uint64{uint64(i), n})
		}
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (h *Histogram) UnmarshalJSON(data []byte) error {
	var in histogramJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	*h = Histogram{count: in.Count, sum: time.Duration(in.SumNS), min: time.Duration(in.MinNS), max: time.Duration(in.MaxNS)}
	if in.Count == 0 {
		return nil
	}
	h.counts = make([]uint64, bucketsTotal)
	var total uint64
	for _, b := range in.Buckets {
		if b[0] >= bucketsTotal {
			return fmt.Errorf("a histogram has no bucket %d", b[0])
		}
		h.counts[b[0]] = b[1]
		total += b[1]
	}
	if total != in.Count {
		return fmt.Errorf("a histogram's buckets hold %d, not the %d that it counts", total, in.Count)
	}
	return nil
}

// Equal tells whether two histograms have counted the same.
func (h *Histogram) Equal(o *Histogram) bool {
	return h.count == o.count && h.sum == o.sum && h.min == o.min && h.max == o.max && slices.Equal(h.counts, o.counts)
}
