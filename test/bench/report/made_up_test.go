package report_test

import (
	"math"
	"strconv"
	"time"

	"github.com/gracerun/grace/test/bench/report"
)

// example is a made-up report with everything in it.
func example() *report.Report {
	return &report.Report{
		Machine:  report.Machine{CPU: "Example CPU 3000", Cores: 2, Memory: 8 << 30, Kernel: "6.18.0", Go: "1.26.8"},
		Started:  time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC),
		Took:     21*time.Minute + 35*time.Second,
		Command:  "go run ./test/bench",
		Peers:    examplePeers(),
		Sections: []*report.Section{exampleLoss(), exampleGrowth(), exampleLatency()},
	}
}

func examplePeers() []report.Peer {
	return []report.Peer{
		{Name: "gracerun", Version: "github.com/gracerun/grace (devel)", How: "HUP to the pid in the pid file"},
		{Name: "tableflip", Version: "github.com/cloudflare/tableflip v1.2.3", How: "HUP"},
		{Name: "overseer", Version: "github.com/jpillora/overseer v1.5.0", How: "USR2"},
		{Name: "endless", Version: "github.com/fvbock/endless v0.0.0-20170109170031-447134032cb6", How: "HUP"},
		{Name: "grace", Version: "github.com/facebookgo/grace v0.0.0-20180706040059-75cf19382434", How: "USR2"},
		{Name: "supervisor", Version: "Go 1.26.8", How: "start new, then TERM old"},
		{Name: "SO_REUSEPORT", Version: "Go 1.26.8", How: "start new | then stop old"},
		{Name: "stop, then start", Version: "Go 1.26.8", How: "TERM, wait, start"},
		{Name: "nginx, HUP", Version: "nginx 1.22.1", How: "HUP to the master"},
		{Name: "nginx, USR2", Version: "nginx 1.22.1", How: "USR2, WINCH, QUIT"},
		{Name: "HAProxy, reload", Version: "HAProxy 2.6.12", How: "USR2 to the master"},
		{Name: "HAProxy, reload, idle-close-on-response", How: "the same", Missing: "haproxy is not installed: apt-get install haproxy"},
		{Name: "plain net/http", Version: "Go 1.26.8", How: "cannot be replaced: the floor"},
		{Name: "raw limit", Version: "Go 1.26.8", How: "StartProcess with the inherited listeners"},
	}
}

func exampleLoss() *report.Section {
	values := []float64{0, 5.1, 0.15, 6.3, 2.25, 1.5, 94, 1234.5, 0.65, 7.7, 8.5}
	bars := report.Plot{File: "loss.svg", Title: "Failed requests per upgrade", Y: "median of all runs, keep-alive, 500 requests a second", Bars: true, README: true}
	table := report.Table{Title: "Failed requests", Columns: []string{"", "requests", "failed", "per upgrade"}, Note: "1,000 upgrades of gracerun, 30 of the others."}
	section := &report.Section{
		ID: "loss", Title: "What is lost", Text: "Clients that never repeat a request, in an open loop.",
		Goals: []report.Goal{
			{What: "failed requests", Want: "0", Got: "0 of 393,257", Met: true},
			{What: "signal to first answer", Want: "at most 1.25 of the raw limit + 1 ms", Got: "1.31", Met: false},
		},
		Faults:  []string{"2 requests failed"},
		Skipped: []string{"raw TCP on nginx: its stream module is another package"},
	}
	for i, v := range values {
		name := examplePeers()[i].Name
		bars.Series = append(bars.Series, report.Series{Name: name, Points: []report.Point{{Y: v, Low: v * 0.8, High: v * 1.1}}})
		table.Rows = append(table.Rows, []string{name, "22,188", figure(v * 30), figure(v)})
		section.Headline = append(section.Headline, report.Headline{Column: "failed per upgrade", Peer: name, Value: figure(v)})
	}
	section.Plots, section.Tables = []report.Plot{bars}, []report.Table{table}
	return section
}

func exampleGrowth() *report.Section {
	plot := report.Plot{File: "growth.svg", Title: "Signal to first answer, by listeners", X: "listeners", Y: "signal to first answer, ms", LogX: true, LogY: true}
	idle := report.Plot{File: "idle.svg", Title: "Old process gone, by idle connections", X: "idle connections", Y: "signal to the exit of the old process, s", LogX: true}
	for i, name := range []string{"gracerun", "tableflip", "supervisor", "nginx, HUP", "HAProxy, reload", "raw limit"} {
		f := 5 + 2*float64(i)
		s, d := report.Series{Name: name}, report.Series{Name: name}
		for _, n := range []float64{1, 10, 100, 1000} {
			v := f + n*0.01*float64(i+1)
			s.Points = append(s.Points, report.Point{X: n, Y: v, Low: v * 0.9, High: v * 1.3})
			if n > 1 {
				d.Points = append(d.Points, report.Point{X: 10 * (n - 10) / 0.99, Y: 1.5 + float64(i)*v/20})
			}
		}
		if name == "HAProxy, reload" {
			s.Points = s.Points[:3]
		}
		plot.Series, idle.Series = append(plot.Series, s), append(idle.Series, d)
	}
	return &report.Section{
		ID: "growth", Title: "How it grows", Plots: []report.Plot{plot, idle},
		Headline: []report.Headline{{Column: "first answer", Peer: "gracerun", Value: "5.9 ms"}, {Column: "first answer", Peer: "raw limit", Value: "4.9 ms"}},
	}
}

func exampleLatency() *report.Section {
	plot := report.Plot{File: "latency.svg", Title: "Latency across an upgrade", X: "since the signal, ms", Y: "p99 of the latency, ms", LogY: true}
	for i, p := range examplePeers()[:11] {
		s := report.Series{Name: p.Name}
		for x := -100.0; x <= 400; x += 5 {
			y := 0.4 + 0.02*float64(i) + 0.05*math.Sin(x/7+float64(i)) + float64(i*i)*math.Exp(-math.Pow((x-15-4*float64(i))/(8+float64(i)), 2))
			pt := report.Point{X: x, Y: y}
			if i == 0 {
				pt.Low, pt.High = y*0.8, y*1.4
			}
			s.Points = append(s.Points, pt)
		}
		plot.Series = append(plot.Series, s)
	}
	return &report.Section{ID: "latency", Title: "Latency", Plots: []report.Plot{plot}}
}

func figure(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
