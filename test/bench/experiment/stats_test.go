package experiment

import (
	"slices"
	"testing"
)

func TestQuantile(t *testing.T) {
	values := []int{5, 1, 4, 2, 3}
	for q, want := range map[float64]int{0: 1, 0.1: 1, 0.5: 3, 0.9: 5, 1: 5} {
		if got := quantile(values, q); got != want {
			t.Errorf("quantile(%v) = %d, want %d", q, got, want)
		}
	}
	if !slices.Equal(values, []int{5, 1, 4, 2, 3}) {
		t.Errorf("quantile has sorted its argument: %v", values)
	}
	if got := median([]float64(nil)); got != 0 {
		t.Errorf("median of nothing = %v", got)
	}
}
