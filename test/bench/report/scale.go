package report

import (
	"math"
	"slices"

	"gonum.org/v1/plot"
)

// logScale is logarithmic, with a place for 0 below the smallest other value.
type logScale struct {
	zero float64 // where 0 is drawn
}

func (l logScale) Normalize(low, high, v float64) float64 {
	at := func(v float64) float64 { return math.Log10(max(v, l.zero)) }
	return (at(v) - at(low)) / (at(high) - at(low))
}

// setLog makes an axis logarithmic, between round numbers around the values.
func setLog(a *plot.Axis, unit string, values []float64) {
	positive := slices.DeleteFunc(slices.Clone(values), func(v float64) bool { return v <= 0 })
	if len(positive) == 0 {
		setLinear(a, unit, values)
		return
	}
	low, high := below(slices.Min(positive)), above(slices.Max(positive))
	if low == high {
		high++
	}
	a.Min, a.Max = round(low), round(high)
	var marks []plot.Tick
	for n := low; n <= high; n++ {
		t := plot.Tick{Value: round(n)}
		if n%3 == 0 || high-low <= 6 { // over more than two decades: 1, 10, 100
			t.Label = withUnit(t.Value, unit)
		}
		marks = append(marks, t)
	}
	if len(positive) < len(values) {
		a.Min /= 5
		marks = append(marks, plot.Tick{Value: a.Min, Label: "0"})
	}
	a.Scale, a.Tick.Marker = logScale{zero: a.Min}, plot.ConstantTicks(marks)
}

// setLinear makes an axis linear, from 0 or below to the highest of the values.
func setLinear(a *plot.Axis, unit string, values []float64) {
	a.Min, a.Max = min(slices.Min(values), 0), max(slices.Max(values), 0)
	if a.Min == a.Max {
		a.Max = 1
	}
	if a.Min == 0 {
		a.Max *= 1.04
	}
	var marks []plot.Tick
	step := round(above((a.Max - a.Min) / 7))
	for i := math.Ceil(a.Min / step); i*step <= a.Max; i++ {
		marks = append(marks, plot.Tick{Value: i * step, Label: withUnit(i*step, unit)})
	}
	a.Tick.Marker = plot.ConstantTicks(marks)
}

// round returns the n-th of the round numbers, of which the one with n = 0 is 1:
// 1, 2, 5, 10, 20, 50, ...
func round(n int) float64 {
	decade := int(math.Floor(float64(n) / 3))
	return [...]float64{1, 2, 5}[n-3*decade] * math.Pow10(decade)
}

// below returns the n of the highest round number that is at most v.
func below(v float64) int {
	n := 3*int(math.Floor(math.Log10(v))) - 1
	for round(n+1) <= v {
		n++
	}
	return n
}

// above returns the n of the lowest round number that is at least v.
func above(v float64) int {
	n := below(v)
	if round(n) < v {
		n++
	}
	return n
}
