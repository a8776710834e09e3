package experiment

import (
	"cmp"
	"math"
	"slices"
)

// quantile returns the smallest of the values that the fraction q of them does
// not exceed: 0.5 for the median, 1 for the largest. It is zero if there are
// none.
func quantile[T cmp.Ordered](values []T, q float64) T {
	var zero T
	if len(values) == 0 {
		return zero
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

func median[T cmp.Ordered](values []T) T { return quantile(values, 0.5) }
