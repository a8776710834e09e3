package experiment

import (
	"context"
	"fmt"
	"time"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/bench/report"
)

const speedText = "From right before the trigger to the first complete answer of a process that was not there before. One client\n" +
	"asks `GET /` all the time, each question on a new connection and as soon as the last one is answered; nothing else\n" +
	"goes on. All services run for the whole experiment and take turns: in each round each is upgraded once, when\n" +
	"nothing is left of its last upgrade. A ratio is of one round. *Raw limit* is the least that the start of a process\n" +
	"of this size can cost (its source is `test/bench/server/raw`); it checks nothing, and its old process exits at\n" +
	"once. gracerun has its defaults: the probation of 500 ms does not delay the first answer, as both generations serve."

// speed measures the time from the signal to the first answer of the new
// generation.
func speed(ctx context.Context, env *Env) (*report.Section, error) {
	rounds := 60
	if env.Quick {
		rounds = 3
	}
	f := launch(ctx, env, env.able(peer.Upgrade), peer.Config{})
	defer f.close()
	r, _ := run(ctx, env, "speed", f, rounds)
	sec := &report.Section{ID: "speed", Title: "Signal to first answer", Text: speedText}
	sec.Tables = []report.Table{r.table(), r.nearness()}
	sec.Goals = r.goals()
	sec.Plots = []report.Plot{r.bars()}
	for i, e := range f {
		value := "-"
		if t := r.times(i); len(t) > 0 {
			value = fmt.Sprintf("%.1f ms", median(t))
		}
		sec.Headline = append(sec.Headline, report.Headline{Column: "signal to first answer", Peer: e.kind.Name, Value: value})
	}
	sec.Faults = f.faults("signal to first answer")
	return sec, ctx.Err()
}

func (r *race) table() report.Table {
	t := report.Table{
		Title:   "Signal to first answer, ms",
		Columns: []string{"", "rounds", "median", "p10", "p90", "max", "times the raw limit", "p10 to p90 of that"},
		Note:    r.fleet.excuses(),
	}
	raw := r.index(rawLimit)
	for i, e := range r.fleet {
		ms, ratios := r.times(i), r.ratios(i, raw)
		row := []string{e.kind.Name, fmt.Sprint(len(ms)), figure(ms, "%.1f"), "-", "-", "-", figure(ratios, "%.2f"), spread(ratios, "%.2f")}
		if len(ms) > 0 {
			for j, q := range []float64{0.1, 0.9, 1} {
				row[3+j] = fmt.Sprintf("%.1f", quantile(ms, q))
			}
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// closeToRaw is what gracerun set out to reach.
func closeToRaw(took, raw time.Duration) bool { return took <= raw*5/4+time.Millisecond }

// near returns in how many rounds entrant i was near the raw limit, of all that
// both have finished.
func (r *race) near(i int) (yes, of int) {
	raw := r.index(rawLimit)
	if i < 0 || raw < 0 {
		return 0, 0
	}
	for _, l := range r.rounds {
		if l[i] == 0 || l[raw] == 0 {
			continue
		}
		of++
		if closeToRaw(l[i], l[raw]) {
			yes++
		}
	}
	return yes, of
}

func (r *race) nearness() report.Table {
	t := report.Table{
		Title:   "Rounds in which it took at most 1.25 times the raw limit plus 1 ms",
		Columns: []string{"", "rounds", "of"},
	}
	for i, e := range r.fleet {
		yes, of := r.near(i)
		t.Rows = append(t.Rows, []string{e.kind.Name, fmt.Sprint(yes), fmt.Sprint(of)})
	}
	return t
}

func (r *race) goals() []report.Goal {
	other := func(e *entrant) bool { return e.kind.Name != ours && e.kind.Name != rawLimit }
	starts := func(e *entrant) bool { return other(e) && e.kind.Can(peer.Binary) }
	return []report.Goal{
		r.versusRaw(),
		r.versus(r.fastest(other), "no slower than the fastest peer"),
		r.versus(r.fastest(starts), "no slower than the fastest peer that starts the installed program"),
	}
}

func (r *race) versusRaw() report.Goal {
	i := r.index(ours)
	yes, of := r.near(i)
	g := report.Goal{
		What: "signal to first answer",
		Want: "at most 1.25 times the raw limit plus 1 ms, in most rounds",
		Got:  "not measured",
	}
	if of > 0 {
		g.Got = fmt.Sprintf("%.2f times; %d of %d rounds within", median(r.ratios(i, r.index(rawLimit))), yes, of)
		g.Met = 2*yes > of
	}
	return g
}

// versus is the goal of taking no longer than entrant i.
func (r *race) versus(i int, want string) report.Goal {
	g := report.Goal{What: "signal to first answer", Want: want, Got: "not measured"}
	if ratios := r.ratios(r.index(ours), i); len(ratios) > 0 {
		g.Got = fmt.Sprintf("%.2f times %s", median(ratios), r.fleet[i].kind.Name)
		g.Met = median(ratios) <= 1
	}
	return g
}

func (r *race) bars() report.Plot {
	p := report.Plot{File: "speed.svg", Title: "Signal to first answer", Y: "ms", Bars: true}
	for i, e := range r.fleet {
		if t := r.times(i); len(t) > 0 {
			p.Series = append(p.Series, report.Series{Name: e.kind.Name, Points: []report.Point{
				{Y: median(t), Low: quantile(t, 0.1), High: quantile(t, 0.9)},
			}})
		}
	}
	return p
}
