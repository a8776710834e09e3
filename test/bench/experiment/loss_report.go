package experiment

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gracerun/grace/test/bench/report"
)

const lossText = "All clients at once, none of which ever sends a request twice: *fresh* ones open a connection for each request;\n" +
	"*keep-alive* ones think for up to 200 ms between two requests and, but for those that *look*, send without looking\n" +
	"whether the server has closed the connection meanwhile, TLS and HTTP/2 (32 streams on 4 connections) too; *slow* has\n" +
	"a request of 300 ms in hand, *stream* one of 1 s; *raw TCP* sends a line each 50 ms and expects it back. Together\n" +
	"they make some 1,300 requests a second.\n\n" +
	"All servers run all the time; in each round each has its turn of a few upgrades under load, while the others are\n" +
	"idle. The next upgrade comes when the old process has gone (at most 65 s later), as several refuse one before, so\n" +
	"who takes long has fewer of them; gracerun's comes as soon as the old process takes no new connection, while it\n" +
	"still drains. The load goes on until the last old process of a turn has gone. gracerun is at its defaults:\n" +
	"`Probation` 500 ms, `Linger` 1 s."

const idleText = "Clients that think for 1 to 1.5 s, which is longer than gracerun keeps an idle connection of the old process\n" +
	"(`Linger`). It closes them, and a request that is sent without looking is lost. One that looks can still send at\n" +
	"the moment at which the FIN comes. Nothing here counts above, or as a fault of gracerun, but any other failure of\n" +
	"these clients does."

func lossReport(env *Env, all []*loser) *report.Section {
	sec := &report.Section{ID: "loss", Title: "Failed requests per upgrade", Text: lossText}
	sec.Tables = []report.Table{lossByMode(all), lossByClass(all), lossOfIdle(all)}
	for _, l := range all {
		if l.out != nil {
			sec.Skipped = append(sec.Skipped, fmt.Sprintf("%s, after %d upgrades: %s", l.kind.Name, l.upgrades, firstLine(l.out)))
		}
		if l.upgrades == 0 {
			continue
		}
		sec.Headline = append(sec.Headline, report.Headline{
			Column: "failed per upgrade, every kind of client", Peer: l.kind.Name, Value: l.each(l.total().failed),
		})
		if l.kind.Name == ours {
			sec.Goals = append(sec.Goals, l.goal())
		}
	}
	sec.Plots = append(sec.Plots, lossPlot(all))
	if i := slices.IndexFunc(all, func(l *loser) bool { return l.kind.Name == ours }); i >= 0 {
		sec.Faults = all[i].faults()
	}
	if env.Quick {
		sec.Skipped = append(sec.Skipped, "the other servers, in a quick run")
	}
	return sec
}

func lossPlot(all []*loser) report.Plot {
	p := report.Plot{
		File: "loss.svg", Title: "Failed requests per upgrade", X: "failed requests per upgrade",
		Bars: true, LogY: true, README: true,
	}
	for _, l := range all {
		if l.upgrades > 0 {
			point := report.Point{Y: l.mean(), Low: slices.Min(l.turns), High: slices.Max(l.turns)}
			p.Series = append(p.Series, report.Series{Name: l.kind.Name, Points: []report.Point{point}})
		}
	}
	return p
}

func lossByMode(all []*loser) report.Table {
	t := report.Table{Title: "By the kind of client", Columns: []string{"", "upgrades", "requests"}}
	var names []string
	for _, m := range modes() {
		if !m.idles {
			names = append(names, m.name)
		}
	}
	t.Columns = append(append(t.Columns, names...), "all", "worst turn")
	for _, l := range all {
		row := []string{l.kind.Name, thousands(l.upgrades), thousands(l.total().requests)}
		for _, name := range names {
			row = append(row, l.cell(name, func(t tally) int { return t.failed }))
		}
		worst := "-"
		if len(l.turns) > 0 {
			worst = short(slices.Max(l.turns))
		}
		t.Rows = append(t.Rows, append(row, l.each(l.total().failed), worst))
		t.Note += l.note()
	}
	t.Note = strings.TrimSpace(t.Note)
	return t
}

func lossByClass(all []*loser) report.Table {
	t := report.Table{Title: "By the way in which they fail, per upgrade", Columns: []string{""}}
	var seen []class
	for _, c := range classes() {
		if slices.ContainsFunc(all, func(l *loser) bool { return l.classes[c] > 0 }) {
			seen = append(seen, c)
			t.Columns = append(t.Columns, string(c))
		}
	}
	for _, l := range all {
		row := []string{l.kind.Name}
		for _, c := range seen {
			row = append(row, l.each(l.classes[c]))
		}
		t.Rows = append(t.Rows, row)
	}
	t.Note = "*before*: no byte of the answer had come; *inside*: some had. *reused*: the connection had carried an answer."
	return t
}

func lossOfIdle(all []*loser) report.Table {
	t := report.Table{Title: "Idle for longer than Linger, per upgrade", Columns: []string{""}, Note: idleText}
	var names []string
	for _, m := range modes() {
		if m.idles {
			names = append(names, m.name)
			t.Columns = append(t.Columns, strings.TrimPrefix(m.name, "idle, "), "requests")
		}
	}
	for _, l := range all {
		row := []string{l.kind.Name}
		for _, name := range names {
			row = append(row, l.cell(name, func(t tally) int { return t.excused }), thousands(l.modes[name].requests))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// cell returns a number of a mode's requests per upgrade; "-" if there were none.
func (l *loser) cell(mode string, count func(tally) int) string {
	t, ok := l.modes[mode]
	if !ok {
		return "-"
	}
	return l.each(count(t))
}

// mean returns the failed requests per upgrade, over all turns.
func (l *loser) mean() float64 { return float64(l.total().failed) / float64(max(l.upgrades, 1)) }

// each returns n per upgrade.
func (l *loser) each(n int) string {
	if l.upgrades == 0 {
		return "-"
	}
	return short(float64(n) / float64(l.upgrades))
}

// note tells what went wrong besides requests.
func (l *loser) note() (text string) {
	if l.deaths > 0 {
		text += fmt.Sprintf("%s died in %d turns, which count for nothing else. ", l.kind.Name, l.deaths)
	}
	if l.refused > 0 {
		text += fmt.Sprintf("%s: no new process answered within 5 s of %d of its triggers. ", l.kind.Name, l.refused)
	}
	return text
}

func (l *loser) goal() report.Goal {
	t := l.total()
	return report.Goal{
		What: "failed requests under load, in every mode",
		Want: "0",
		Got:  fmt.Sprintf("%s of %s, in %s upgrades", thousands(t.failed), thousands(t.requests), thousands(l.upgrades)),
		Met:  t.failed == 0,
	}
}

// faults returns what must not happen to gracerun.
func (l *loser) faults() (list []string) {
	if l.out != nil {
		list = append(list, firstLine(l.out))
	}
	if text := strings.TrimSpace(l.note()); text != "" {
		list = append(list, text)
	}
	for _, f := range l.lost {
		list = append(list, f.Error())
	}
	if more := l.total().failed - len(l.lost); more > 0 {
		list = append(list, fmt.Sprintf("and %d more", more))
	}
	return list
}

// short returns a number with two or three digits that count; "0" for none.
func short(x float64) string {
	switch {
	case x == 0:
		return "0"
	case x < 0.1:
		return strconv.FormatFloat(x, 'g', 2, 64)
	case x < 10:
		return fmt.Sprintf("%.2f", x)
	}
	return fmt.Sprintf("%.1f", x)
}
