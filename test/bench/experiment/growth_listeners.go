package experiment

import (
	"context"
	"fmt"
	"slices"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/bench/report"
)

// growListeners measures the signal to first answer with more and more addresses.
func growListeners(ctx context.Context, env *Env, sec *report.Section) error {
	sizes, rounds := []int{1, 10, 100, 1000}, 20
	if env.Quick {
		sizes, rounds = []int{1, 100}, 2
	}
	kinds := growing(env)
	first := report.Table{Title: "Signal to first answer at the first of so many addresses, ms", Columns: []string{""}}
	last := report.Table{Title: "The same at the last address, ms", Columns: []string{""}}
	plot := report.Plot{
		File: "growth-listeners.svg", Title: "Signal to first answer with so many listeners",
		X: "listeners", Y: "ms", LogX: true, LogY: true, Series: seriesOf(kinds),
	}
	for _, k := range kinds {
		first.Rows, last.Rows = append(first.Rows, []string{k.Name}), append(last.Rows, []string{k.Name})
	}
	for _, n := range sizes {
		f := launch(ctx, env, kinds, peer.Config{Listeners: n})
		what := fmt.Sprintf("growth: listeners %s", thousands(n))
		a, b := run(ctx, env, what, f, rounds)
		f.close()
		a.addColumns(&first, n)
		b.addColumns(&last, n)
		a.addPoints(plot.Series, n)
		sec.Faults = append(sec.Faults, f.faults(what)...)
		if n == slices.Max(sizes) {
			sec.Goals = append(sec.Goals, a.listenersGoal(n, "the first of"), b.listenersGoal(n, "the last of"))
		}
	}
	sec.Tables, sec.Plots = append(sec.Tables, first, last), append(sec.Plots, plot)
	return nil
}

// addColumns adds two columns with the times and the ratios of a race with n
// addresses.
func (r *race) addColumns(t *report.Table, n int) {
	t.Columns = append(t.Columns, thousands(n), "times raw")
	raw := r.index(rawLimit)
	for i := range r.fleet {
		t.Rows[i] = append(t.Rows[i], figure(r.times(i), "%.1f"), figure(r.ratios(i, raw), "%.2f"))
	}
	if text := r.fleet.excuses(); text != "" {
		t.Note += fmt.Sprintf("With %s: %s ", thousands(n), text)
	}
}

func seriesOf(kinds []*peer.Kind) (list []report.Series) {
	for _, k := range kinds {
		list = append(list, report.Series{Name: k.Name})
	}
	return list
}

// addPoints adds the medians of a race to the series of a plot, at x.
func (r *race) addPoints(series []report.Series, x int) {
	for i := range r.fleet {
		if t := r.times(i); len(t) > 0 {
			p := report.Point{X: float64(x), Y: median(t), Low: quantile(t, 0.1), High: quantile(t, 0.9)}
			series[i].Points = append(series[i].Points, p)
		}
	}
}

func (r *race) listenersGoal(n int, which string) report.Goal {
	g := report.Goal{
		What: fmt.Sprintf("signal to first answer at %s %s addresses", which, thousands(n)),
		Want: "at most 1.25 times the raw limit",
		Got:  "not measured",
	}
	if ratios := r.ratios(r.index(ours), r.index(rawLimit)); len(ratios) > 0 {
		g.Got, g.Met = fmt.Sprintf("%.2f times", median(ratios)), median(ratios) <= 1.25
	}
	return g
}
