package load

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"time"
)

// Histogram counts durations in buckets that are 1/64 of a power of two wide,
// so a quantile is at most 1.6 % too high. The zero value is empty and ready
// to use. It is not safe for concurrent use.
type Histogram struct {
	counts []uint64 // below 128 ns a bucket is a nanosecond; grown as needed, 2,500 of them reach an hour
	n      uint64
	max    time.Duration
}

const subBuckets = 64

func bucket(d time.Duration) int {
	v := uint64(max(d, 0))
	shift := max(bits.Len64(v)-7, 0)
	return shift*subBuckets + int(v>>shift)
}

// upper returns the longest duration in bucket i.
func upper(i int) time.Duration {
	shift := max(i/subBuckets-1, 0)
	return time.Duration((uint64(i-shift*subBuckets)+1)<<shift - 1)
}

// Add counts d; a negative one counts as 0.
func (h *Histogram) Add(d time.Duration) {
	i := bucket(d)
	if i >= len(h.counts) {
		h.counts = slices.Grow(h.counts, i+1-len(h.counts))[:i+1]
	}
	h.counts[i]++
	h.n++
	h.max = max(h.max, d)
}

// Merge adds everything that o has counted. o is unchanged.
func (h *Histogram) Merge(o *Histogram) {
	if len(o.counts) > len(h.counts) {
		h.counts = slices.Grow(h.counts, len(o.counts)-len(h.counts))[:len(o.counts)]
	}
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.n += o.n
	h.max = max(h.max, o.max)
}

// Count returns how many durations were added.
func (h *Histogram) Count() int { return int(h.n) }

// Max returns the longest one, exactly; 0 if there is none.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile returns a duration which the fraction q of all does not exceed: 0.5
// for the median, 1 for the maximum; 0 if there is none.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := uint64(math.Ceil(q * float64(h.n)))
	rank = max(rank, 1)
	var seen uint64
	for i, n := range h.counts {
		if seen += n; seen >= rank {
			return min(upper(i), h.max)
		}
	}
	return h.max
}

// String tells the count, median, 99th percentile and maximum.
func (h *Histogram) String() string {
	round := func(d time.Duration) time.Duration { return d.Round(time.Microsecond) }
	return fmt.Sprintf("n=%d p50=%v p99=%v max=%v", h.n, round(h.Quantile(0.5)), round(h.Quantile(0.99)), round(h.max))
}
