package load_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/gracerun/grace/test/load"
)

func TestHistogram(t *testing.T) {
	t.Parallel()
	var h, half load.Histogram
	if h.Quantile(0.5) != 0 || h.Count() != 0 || h.Max() != 0 {
		t.Error("the empty histogram is not empty")
	}
	rng := rand.New(rand.NewPCG(1, 2))
	all := []time.Duration{0, 1, 127, 128, 129, 255, 256, time.Hour, 1<<63 - 1}
	for range 20_000 {
		all = append(all, time.Duration(rng.Uint64()>>(1+rng.IntN(63))))
	}
	for i, d := range all {
		if i%2 == 0 {
			h.Add(d)
		} else {
			half.Add(d)
		}
	}
	h.Merge(&half)
	slices.Sort(all)
	if h.Count() != len(all) || h.Max() != all[len(all)-1] {
		t.Errorf("%d up to %v, want %d up to %v", h.Count(), h.Max(), len(all), all[len(all)-1])
	}
	for _, q := range []float64{0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1} {
		exact := all[max(int(q*float64(len(all))+0.9999999)-1, 0)]
		if got := h.Quantile(q); got < exact || got-exact > exact/64 {
			t.Errorf("quantile %v is %d, exactly %d", q, got, exact)
		}
	}
	h = load.Histogram{}
	h.Add(-time.Second)
	if h.Count() != 1 || h.Quantile(1) != 0 {
		t.Error("a negative duration is not 0")
	}
}

func BenchmarkHistogramAdd(b *testing.B) {
	var h load.Histogram
	for b.Loop() {
		h.Add(123456 * time.Nanosecond)
	}
}
