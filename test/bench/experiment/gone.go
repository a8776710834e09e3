package experiment

import (
	"context"
	"fmt"
	"time"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/bench/report"
)

const goneText = "*After its last answer*: a request of 250 ms (`Connection: close`) is in the old process's hands when the upgrade\n" +
	"begins; otherwise one client asks `GET /` on a new connection every 5 ms, and nothing idles. The time is from the moment when the client has the whole answer to the exit of\n" +
	"the process that gave it, which a pidfd tells; an exit that is noticed before the answer has been read counts as 0.\n" +
	"gracerun has a probation of 50 ms here, so that the old process is\n" +
	"in its drain when it answers: with the default of 500 ms it would still be serving.\n\n" +
	"*With silent connections*: 10 connections that never send a byte are open when the upgrade begins. The time is from\n" +
	"the trigger until no more processes are there than before, no longer than 70 s. All services are upgraded at the\n" +
	"same time. gracerun has its defaults: 500 ms of probation, and 1 s of linger."

// handed is how long the request takes that the old process has in hand.
const handed = 250 * time.Millisecond

// oldGone measures how long the old process stays.
func oldGone(ctx context.Context, env *Env) (*report.Section, error) {
	rounds, silent := 15, env.able(peer.Upgrade)
	if env.Quick {
		rounds, silent = 1, env.pick(peer.Upgrade, ours)
	}
	quiet := beginSilence(ctx, env, silent)
	defer quiet.fleet.close()
	f := launch(ctx, env, env.able(peer.Upgrade), peer.Config{Probation: handed / 5})
	defer f.close()
	stays := make([]stay, len(f))
	f.takeTurns(ctx, env, "gone", rounds, func(_, i int, e *entrant) error { return stays[i].add(ctx, e) })
	env.Progress("gone: waiting for old processes with silent connections")
	quiet.wait()
	return goneSection(f, stays, quiet), ctx.Err()
}

// A stay is how long old processes of one kind stayed after their last answer.
type stay struct {
	ms   []float64
	lost int // requests in hand that were not answered
}

// add upgrades an entrant once while it has a request in hand.
func (s *stay) add(ctx context.Context, e *entrant) error {
	ctx, cancel := context.WithTimeoutCause(ctx, upgradeLimit, fmt.Errorf("after %v", upgradeLimit))
	defer cancel()
	old, err := e.settled(ctx)
	if err != nil {
		return err
	}
	answers, err := holding(ctx, e.Server, func() lastAnswer { return askSleep(e.HTTP[0], handed) })
	if err != nil {
		return err
	}
	exits := watchExits(ctx, e.Server, old)
	if err := e.Trigger(); err != nil {
		return err
	}
	if _, err := e.awaitNew(ctx, e.HTTP[0], old); err != nil {
		return err
	}
	defer e.visit(ctx)()
	answer := <-answers
	if answer.err != nil {
		s.lost++
		return nil
	}
	exit, err := exits.of(answer.pid)
	if err != nil {
		return fmt.Errorf("old process still there %w", err)
	}
	s.ms = append(s.ms, milliseconds(max(exit.Sub(answer.at), 0)))
	return nil
}

func goneSection(f fleet, stays []stay, quiet *silence) *report.Section {
	sec := &report.Section{ID: "gone", Title: "Old process gone", Text: goneText, Faults: f.faults("old process gone")}
	t := report.Table{
		Title:   "Old process gone after its last answer, ms",
		Columns: []string{"", "answers", "requests lost", "median", "p90", "max"},
		Note:    f.excuses(),
	}
	for i, e := range f {
		s := &stays[i]
		row := []string{e.kind.Name, fmt.Sprint(len(s.ms)), fmt.Sprint(s.lost), figure(s.ms, "%.1f"), "-", "-"}
		head := report.Headline{Column: "old process gone after its last answer", Peer: e.kind.Name, Value: "loses the request"}
		if len(s.ms) > 0 {
			row[4], row[5] = fmt.Sprintf("%.1f", quantile(s.ms, 0.9)), fmt.Sprintf("%.1f", quantile(s.ms, 1))
		}
		if len(s.ms) > s.lost {
			head.Value = fmt.Sprintf("%.1f ms", median(s.ms))
		}
		t.Rows = append(t.Rows, row)
		sec.Headline = append(sec.Headline, head)
		if e.kind.Name == ours {
			sec.Goals = append(sec.Goals, s.goal())
			if s.lost > 0 {
				sec.Faults = append(sec.Faults, fmt.Sprintf("old process gone: %d requests in hand were lost", s.lost))
			}
		}
	}
	sec.Tables = []report.Table{t}
	quiet.addTo(sec)
	return sec
}

func (s *stay) goal() report.Goal {
	g := report.Goal{What: "old process gone after its last answer, nothing idle", Want: "at most 2 ms", Got: "not measured"}
	if len(s.ms) > 0 {
		g.Got = fmt.Sprintf("%.1f ms (at most %.1f)", median(s.ms), quantile(s.ms, 1))
		g.Met = median(s.ms) <= 2
	}
	return g
}
