package experiment

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A race has the times of a fleet, round by round, in the order of the fleet.
type race struct {
	fleet  fleet
	rounds []lap
}

// A lap has the times of one round. 0 = did not finish.
type lap []time.Duration

// run upgrades every entrant once a round. first has the times to the answer at
// the first of an entrant's addresses, last those to the one at the last, which
// is asked when the first has answered.
func run(ctx context.Context, env *Env, what string, f fleet, rounds int) (first, last *race) {
	first, last = newRace(f, rounds), newRace(f, rounds)
	f.takeTurns(ctx, env, what, rounds, func(round, i int, e *entrant) error {
		took, err := e.upgrade(ctx, e.HTTP[0], e.HTTP[len(e.HTTP)-1])
		if err == nil {
			first.rounds[round][i], last.rounds[round][i] = took[0], took[1]
		}
		return err
	})
	return first, last
}

func newRace(f fleet, rounds int) *race {
	r := &race{fleet: f}
	for range rounds {
		r.rounds = append(r.rounds, make(lap, len(f)))
	}
	return r
}

// index returns where in the laps the kind of that name is; -1 = it takes no
// part.
func (r *race) index(name string) int {
	return slices.IndexFunc(r.fleet, func(e *entrant) bool { return e.kind.Name == name })
}

// times returns those of the rounds that entrant i has finished, in ms.
func (r *race) times(i int) (ms []float64) {
	for _, l := range r.rounds {
		if l[i] > 0 {
			ms = append(ms, milliseconds(l[i]))
		}
	}
	return ms
}

// ratios returns how many times as long as entrant base entrant i took, for each
// round that both have finished.
func (r *race) ratios(i, base int) (list []float64) {
	if i < 0 || base < 0 {
		return nil
	}
	for _, l := range r.rounds {
		if l[i] > 0 && l[base] > 0 {
			list = append(list, float64(l[i])/float64(l[base]))
		}
	}
	return list
}

// fastest returns the entrant with the smallest median among those that may;
// -1 = none has finished a round.
func (r *race) fastest(may func(*entrant) bool) int {
	best, least := -1, 0.0
	for i, e := range r.fleet {
		if t := r.times(i); len(t) > 0 && may(e) && (best < 0 || median(t) < least) {
			best, least = i, median(t)
		}
	}
	return best
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1e3 }

// figure returns the median of the values; "-" if there are none.
func figure(values []float64, format string) string {
	if len(values) == 0 {
		return "-"
	}
	return fmt.Sprintf(format, median(values))
}

// spread returns the range in which 8 of 10 values are.
func spread(values []float64, format string) string {
	if len(values) == 0 {
		return "-"
	}
	return fmt.Sprintf(format+" to "+format, quantile(values, 0.1), quantile(values, 0.9))
}

// firstLine returns the first line of why something has no figures. Without an
// error, the run has ended before.
func firstLine(err error) string {
	if err == nil {
		return "its turn did not come"
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
