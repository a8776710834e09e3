package experiment

import (
	"fmt"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/bench/report"
)

// addTo adds the figures to a row.
func (d *idleness) addTo(t *report.Table, row int) {
	gone := figure(d.gone, "%.0f")
	if d.stays {
		gone = fmt.Sprintf("more than %.0f", milliseconds(idleLimit))
	}
	t.Rows[row] = append(t.Rows[row], figure(d.first, "%.1f"), gone)
	for _, trouble := range d.troubles {
		t.Note += trouble + " "
	}
}

// idlePlots returns two, of the first answer and of the old process's end.
func idlePlots(kinds []*peer.Kind) []report.Plot {
	return []report.Plot{
		{
			File: "growth-idle-first.svg", Title: "Signal to first answer with so many idle connections",
			X: "idle connections", Y: "ms", LogY: true, Series: seriesOf(kinds),
		},
		{
			File: "growth-idle-gone.svg", Title: "Signal to old process gone with so many idle connections",
			X: "idle connections", Y: "ms", LogY: true, Series: seriesOf(kinds),
		},
	}
}

func (d *idleness) addPoints(plots []report.Plot, row, n int) {
	for i, values := range [][]float64{d.first, d.gone} {
		if len(values) > 0 {
			p := report.Point{X: float64(n), Y: median(values), Low: quantile(values, 0), High: quantile(values, 1)}
			plots[i].Series[row].Points = append(plots[i].Series[row].Points, p)
		}
	}
}

// idleGoals compares with HAProxy, which has neither probation nor linger.
func idleGoals(kinds []*peer.Kind, all []idleness, n int) []report.Goal {
	const parts = 1500 // ms: gracerun's linger and probation
	var mine, theirs *idleness
	for i, k := range kinds {
		switch k.Name {
		case ours:
			mine = &all[i]
		case haproxy:
			theirs = &all[i]
		}
	}
	if n == 0 || mine == nil || theirs == nil || len(mine.gone) == 0 {
		return nil
	}
	g := report.Goal{
		What: fmt.Sprintf("old process gone with %s idle connections", thousands(n)),
		Want: "no later than HAProxy's plus linger (1 s) and probation (0.5 s)",
	}
	if theirs.stays {
		g.Got = fmt.Sprintf("%.0f ms; HAProxy's stays for more than %v", median(mine.gone), idleLimit)
		g.Met = true
	} else if len(theirs.gone) > 0 {
		g.Got = fmt.Sprintf("%.0f ms, which is HAProxy's %.0f + %d %+.0f ms",
			median(mine.gone), median(theirs.gone), parts, median(mine.gone)-median(theirs.gone)-parts)
		g.Met = median(mine.gone) <= median(theirs.gone)+parts
	} else {
		return nil
	}
	return []report.Goal{g}
}

func idleFaults(kinds []*peer.Kind, all []idleness, n int) (list []string) {
	for i, k := range kinds {
		if k.Name != ours {
			continue
		}
		for _, trouble := range all[i].troubles {
			list = append(list, fmt.Sprintf("growth: %s idle connections: %s", thousands(n), trouble))
		}
		if all[i].stays {
			list = append(list, fmt.Sprintf("growth: %s idle connections: the old process stays for more than %v", thousands(n), idleLimit))
		}
	}
	return list
}
