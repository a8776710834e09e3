package experiment

import (
	"fmt"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/gracerun/grace/test/bench/report"
)

const latencyText = "An open loop: requests are due at a fixed rate, whether or not earlier ones have been answered, and a latency\n" +
	"counts from when the request was due, so that a stall is seen by all whom it would hit (no coordinated omission).\n" +
	"Plain net/http answers %s requests a second of the same 64 clients when each asks again at once; the rate is half\n" +
	"of that, %s. Four of five requests go over a keep-alive connection, at which the client looks before it sends, the\n" +
	"fifth over a new one. Clients and servers share the machine; the client collects no garbage meanwhile.\n\n" +
	"*Steady* is the 500 ms before the trigger. *Window* is from the trigger until 100 ms after the last answer of the\n" +
	"old process, at most 2 s. gracerun's `Probation`, in which both processes serve, is 100 ms here and not 500, so that\n" +
	"its window is not diluted."

func latencyReport(env *Env, all []*delay, most, rate float64) *report.Section {
	sec := &report.Section{
		ID: "latency", Title: "Latency while a server is replaced",
		Text: fmt.Sprintf(latencyText, thousands(int(most)), thousands(int(rate))),
	}
	lines := report.Plot{
		File: "latency.svg", Title: "The longest latency in each 20 ms, median of all upgrades",
		X: "ms after the trigger", Y: "ms", LogY: true,
	}
	for _, d := range all {
		if d.out != nil {
			sec.Skipped = append(sec.Skipped, fmt.Sprintf("%s, after %d upgrades: %s", d.kind.Name, len(d.ratios), firstLine(d.out)))
		}
		if d.kind.Name == ours {
			sec.Faults = append(sec.Faults, d.faults()...)
		}
		n := len(d.ratios)
		if n == 0 {
			continue
		}
		lines.Series = append(lines.Series, d.series())
		sec.Headline = append(sec.Headline,
			report.Headline{Column: "failed per upgrade, clients that look, half load", Peer: d.kind.Name, Value: short(float64(d.failed) / float64(n))},
			report.Headline{Column: "p99 meanwhile / steady", Peer: d.kind.Name, Value: fmt.Sprintf("%.1f", d.ratio())},
		)
		if d.kind.Name == ours {
			sec.Goals = append(sec.Goals, d.goal())
		}
	}
	sec.Tables = append(sec.Tables, latencyTable(all))
	sec.Plots = append(sec.Plots, lines)
	if env.Quick {
		sec.Skipped = append(sec.Skipped, "the other servers, in a quick run")
	}
	return sec
}

func latencyTable(all []*delay) report.Table {
	t := report.Table{
		Title: "Latency at half load, ms",
		Columns: []string{
			"", "upgrades", "steady p50", "p99", "p99.9", "max", "window p50", "p99", "p99.9", "max",
			"ratio of p99", "range", "window", "failed",
		},
		Note: "Quantiles are of all requests; *ratio* is the median of each upgrade's p99 in the window to its steady p99,\n" +
			"*range* the smallest and the largest. *window* is its median length. Failed requests have no latency, so who\n" +
			"loses many looks fast here.",
	}
	for _, d := range all {
		n := len(d.ratios)
		if n == 0 {
			continue
		}
		row := append([]string{d.kind.Name, fmt.Sprint(n)}, slices.Concat(quantiles(d.steady), quantiles(d.window))...)
		t.Rows = append(t.Rows, append(row,
			fmt.Sprintf("%.1f", d.ratio()),
			fmt.Sprintf("%.1f to %.1f", slices.Min(d.ratios), slices.Max(d.ratios)),
			fmt.Sprintf("%.0f", median(d.windows)),
			thousands(d.failed)))
	}
	return t
}

// quantiles returns p50, p99, p99.9 and the maximum in milliseconds.
func quantiles(h *hdrhistogram.Histogram) []string {
	var list []string
	for _, q := range []float64{50, 99, 99.9, 100} {
		list = append(list, fmt.Sprintf("%.2f", float64(h.ValueAtQuantile(q))/1e3))
	}
	return list
}

// ratio returns the median of the upgrades' ratios: a single disturbance by
// something else on the machine does not change it.
func (d *delay) ratio() float64 { return median(d.ratios) }

// series returns for each bin of the plot the median of all turns.
func (d *delay) series() report.Series {
	s := report.Series{Name: d.kind.Name}
	for i, bin := range d.bins {
		if len(bin) > 0 {
			at := latencyFrom + latencyBin/2 + latencyBin*time.Duration(i)
			s.Points = append(s.Points, report.Point{X: milliseconds(at), Y: median(bin)})
		}
	}
	return s
}

func (d *delay) goal() report.Goal {
	return report.Goal{
		What: "p99 of latency in the window, at half load",
		Want: "at most 3 times steady p99",
		Got:  fmt.Sprintf("%.1f times", d.ratio()),
		Met:  d.ratio() <= 3,
	}
}

// faults returns what must not happen to gracerun.
func (d *delay) faults() (list []string) {
	if d.out != nil {
		list = append(list, firstLine(d.out))
	}
	for i, f := range d.lost {
		if i == 20 {
			return append(list, fmt.Sprintf("and %d more", len(d.lost)-i))
		}
		list = append(list, f.Error())
	}
	return list
}
