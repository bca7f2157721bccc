package load_test

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/troupe-run/troupe/bench/load"
)

// Every quantile is within a bucket's width (1/32) of the true one.
func TestHistogramQuantiles(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var h load.Histogram
	var all []time.Duration
	for range 20_000 {
		d := time.Duration(r.ExpFloat64() * float64(20*time.Millisecond))
		all = append(all, d)
		h.Add(d)
	}
	slices.Sort(all)
	for _, q := range []float64{0.001, 0.25, 0.5, 0.9, 0.99, 0.999} {
		want := all[int(q*float64(len(all)))-1]
		got := h.Quantile(q)
		if diff := (got - want).Abs(); diff > want/32+1 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if h.Min() != all[0] || h.Max() != all[len(all)-1] || h.Count() != uint64(len(all)) {
		t.Errorf("min %v max %v count %d, want %v %v %d", h.Min(), h.Max(), h.Count(), all[0], all[len(all)-1], len(all))
	}
	if got := h.Quantile(1); got > all[len(all)-1] || got < all[len(all)-1]*31/32 {
		t.Errorf("quantile 1 is %v, want about %v", got, all[len(all)-1])
	}
}

// A value is in the bucket whose borders hold it, at every power of two.
func TestHistogramBuckets(t *testing.T) {
	for shift := range 62 {
		for _, off := range []int64{-1, 0, 1} {
			d := time.Duration(1<<shift + off)
			var h load.Histogram
			h.Add(d)
			for _, n := range []int{1, 8, 32} {
				b := h.Buckets(n)
				if len(b) != 1 || b[0].Count != 1 || d < b[0].From || d >= b[0].To {
					t.Fatalf("%d with %d buckets for each power of two is in %v", d, n, b)
				}
			}
			if got := h.Quantile(0.5); got != d {
				t.Fatalf("the only value is %d, the median %d", d, got)
			}
		}
	}
}

func TestHistogramEmptyAndNegative(t *testing.T) {
	var h load.Histogram
	if h.Quantile(0.5) != 0 || h.Mean() != 0 || h.Buckets(8) != nil {
		t.Error("an empty histogram is not empty")
	}
	h.Add(-time.Second)
	if h.Count() != 1 || h.Max() != 0 {
		t.Errorf("a negative duration counts as %v", h.Max())
	}
}

func TestHistogramMergeAndJSON(t *testing.T) {
	var a, b, both load.Histogram
	for i := range 1000 {
		d := time.Duration(i*i) * time.Microsecond
		both.Add(d)
		if i%3 == 0 {
			a.Add(d)
		} else {
			b.Add(d)
		}
	}
	a.Merge(&b)
	if !a.Equal(&both) {
		t.Error("two merged histograms are not that of all values")
	}
	data, err := json.Marshal(both)
	if err != nil {
		t.Fatal(err)
	}
	var again load.Histogram
	if err := json.Unmarshal(data, &again); err != nil {
		t.Fatal(err)
	}
	if !again.Equal(&both) {
		t.Error("a histogram is not the same after JSON")
	}
	for _, bad := range []string{`{"count":1,"buckets":[]}`, `{"count":1,"buckets":[[99999,1]]}`, `[]`} {
		if json.Unmarshal([]byte(bad), &again) == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
