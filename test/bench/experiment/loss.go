package experiment

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/bench/report"
	"github.com/gracerun/grace/test/load"
)

// loss counts the requests that fail while servers are replaced.
func loss(ctx context.Context, env *Env) (*report.Section, error) {
	rounds, share := lossPlan(env)
	kinds := env.pick(peer.Upgrade, ours, tableflip, "nginx HUP", haproxy, "stop then start")
	f := launch(ctx, env, kinds, lossConfig())
	defer f.close()
	all := make([]*loser, len(f))
	for i, e := range f {
		all[i] = &loser{entrant: e, env: env, modes: map[string]tally{}, classes: map[class]int{}}
	}
	for round := range rounds {
		for _, l := range turn(all, round) {
			env.Progress("loss: round %d of %d, %s", round+1, rounds, l.kind.Name)
			l.turn(ctx, share(l.kind))
		}
	}
	return lossReport(env, all), ctx.Err()
}

func lossConfig() peer.Config { return peer.Config{TLS: true, Raw: true} }

// lossPlan returns how many rounds there are, and how many upgrades a kind has in
// each.
func lossPlan(env *Env) (rounds int, share func(*peer.Kind) int) {
	total := max(env.Upgrades, 1)
	if env.Quick {
		total = 5
	}
	rounds = min(max(total/20, 1), 6)
	mine := (total + rounds - 1) / rounds
	return rounds, func(k *peer.Kind) int {
		if k.Name == ours {
			return mine
		}
		return max(mine/40, 1)
	}
}

// A loser is an entrant and what its clients have lost.
type loser struct {
	*entrant
	env *Env

	modes    map[string]tally // by the mode's name
	classes  map[class]int    // of failures that are not excused
	upgrades int              // asked for
	refused  int              // of which no new process came
	deaths   int              // a turn in which the server died counts for nothing else
	turns    []float64        // failed requests per upgrade, of each
	lost     []load.Failure   // the first few, to be looked at
}

// A tally is what became of the requests of one mode.
type tally struct{ requests, failed, excused int }

// turn upgrades the server n times under load, less often if that takes long.
func (l *loser) turn(ctx context.Context, n int) {
	if l.out != nil || ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute+time.Duration(n)*10*time.Second)
	defer cancel()
	var r load.Runner
	var done, refused int
	var died error
	res := under(ctx, &r, groups(l.Server), func(ctx context.Context) {
		load.Pause(ctx, 300*time.Millisecond) // every client has its connection
		enough := time.Now().Add(10*time.Second + time.Duration(n)*time.Second)
		for ; done < n && died == nil && time.Now().Before(enough) && ctx.Err() == nil; done++ {
			if err := l.replace(ctx); err != nil {
				refused++
				_, died = peer.Ask(ctx, l.HTTP[0])
			}
		}
		l.drained(ctx)
		if died == nil {
			_, died = peer.Ask(ctx, l.HTTP[0])
		}
	})
	if ctx.Err() != nil {
		return
	}
	if died != nil {
		l.revive(ctx)
		return
	}
	l.upgrades += done
	l.refused += refused
	l.add(res, done)
}

// replace upgrades the server once, and returns when the next upgrade may come:
// gracerun's as soon as the old process takes no new connection, although it may
// still drain; the others', several of which refuse an upgrade until then, when
// it has gone.
func (l *loser) replace(ctx context.Context) error {
	old, err := l.Server.PIDs()
	if err != nil {
		return err
	}
	if _, err := upgrade(ctx, l.Server, 5*time.Second); err != nil {
		return err
	}
	if l.kind.Name == ours {
		silent(ctx, l.Server, old)
	} else {
		l.drained(ctx)
	}
	load.Pause(ctx, rand.N(200*time.Millisecond))
	return nil
}

// drained waits until the replaced processes have gone. The last to go are
// those of overseer, which it kills after 30 s, and of endless, after 60 s.
func (l *loser) drained(ctx context.Context) {
	limit := 65 * time.Second
	if l.env.Quick {
		limit = 3 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	l.settled(ctx)
}

// silent waits until new connections have been answered by no old process for
// a while, for 3 s at most.
func silent(ctx context.Context, s *peer.Server, old []int) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	for n := 0; n < 15; n++ {
		if pid, err := peer.Ask(ctx, s.HTTP[0]); err != nil || slices.Contains(old, pid) {
			n = 0
		}
		if !load.Pause(ctx, 5*time.Millisecond) {
			return
		}
	}
}

// revive starts a server anew that has died. It is out after the third time.
func (l *loser) revive(ctx context.Context) {
	l.env.Progress("loss: %s has died", l.kind.Name)
	l.deaths++
	l.Close()
	if l.out = fmt.Errorf("%w %d times", errDied, l.deaths); l.deaths < 3 {
		l.start(ctx, l.env, lossConfig())
	}
}

// add counts a turn of n upgrades.
func (l *loser) add(res *load.Result, n int) {
	for _, k := range res.Kinds {
		t := l.modes[k.Kind]
		t.requests += k.OK + k.Failed
		l.modes[k.Kind] = t
	}
	lost := 0
	for _, f := range res.Failures {
		t := l.modes[f.Kind]
		if excused(&f) {
			t.excused++
		} else {
			t.failed++
			lost++
			l.classes[classOf(&f)]++
			if len(l.lost) < 20 {
				l.lost = append(l.lost, f)
			}
		}
		l.modes[f.Kind] = t
	}
	l.turns = append(l.turns, float64(lost)/float64(n))
}

// total returns the sum of all modes.
func (l *loser) total() (t tally) {
	for _, m := range l.modes {
		t.requests += m.requests
		t.failed += m.failed
		t.excused += m.excused
	}
	return t
}
