package report

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/plot/vg"
)

func TestNumber(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{
		0: "0", 0.0131: "0.0131", 0.15: "0.15", 5.1: "5.1", 9.996: "10", 17: "17", 145.4: "145",
		1234: "1,234", 999_999: "999,999", 1_234_567: "1,234,567", -1234: "-1,234", -0.5: "-0.5", -123: "-123",
	} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
}

func TestRoundNumbers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ v, below, above float64 }{
		{1, 1, 1}, {1.1, 1, 2}, {3, 2, 5}, {5, 5, 5}, {7, 5, 10}, {10, 10, 10}, {0.3, 0.2, 0.5}, {0.1, 0.1, 0.1}, {99.9, 50, 100}, {1000, 1000, 1000},
	} {
		if got := round(below(test.v)); math.Abs(got/test.below-1) > 1e-9 {
			t.Errorf("below %v is %v, want %v", test.v, got, test.below)
		}
		if got := round(above(test.v)); math.Abs(got/test.above-1) > 1e-9 {
			t.Errorf("above %v is %v, want %v", test.v, got, test.above)
		}
	}
}

// Labels never overlap, stay in their order and in the plot, and where they want
// to be if nothing is in the way.
func TestSpread(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		labels := make([]label, 1+random.IntN(14))
		for i := range labels {
			labels[i].y = vg.Length(random.Float64() * 300)
		}
		spread(labels, 0, 300)
		for i, l := range labels {
			if l.y > 300-labelHeight/2+1e-6 || l.y < labelHeight/2-1e-6 {
				t.Fatalf("label %d of %v is outside", i, labels)
			}
			if i > 0 && labels[i-1].y-l.y < labelHeight-1e-6 {
				t.Fatalf("labels %d and %d of %v overlap", i-1, i, labels)
			}
		}
	}
	alone := []label{{y: 200}, {y: 100}}
	spread(alone, 0, 300)
	if alone[0].y != 200 || alone[1].y != 100 {
		t.Errorf("moved without need: %v", alone)
	}
}
