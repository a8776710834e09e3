package experiment

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/load"
)

// rawLimit is the name of the kind that is the least an upgrade can cost.
const rawLimit = "raw limit"

// A fleet is one server of each kind, all running, so that they can take turns.
type fleet []*entrant

// launch starts a fleet. What does not start is out.
func launch(ctx context.Context, env *Env, kinds []*peer.Kind, cfg peer.Config) fleet {
	var f fleet
	for _, k := range kinds {
		e := &entrant{kind: k}
		e.start(ctx, env, cfg)
		f = append(f, e)
	}
	return f
}

// close ends all servers: they run for the figures, so that they are killed is
// no fault.
func (f fleet) close() {
	for _, e := range f {
		if e.Server != nil {
			e.Close()
		}
	}
}

// find returns the entrant of that name; nil = there is none.
func (f fleet) find(name string) *entrant {
	if i := slices.IndexFunc(f, func(e *entrant) bool { return e.kind.Name == name }); i >= 0 {
		return f[i]
	}
	return nil
}

// faults returns the troubles of gracerun in something.
func (f fleet) faults(what string) (list []string) {
	if e := f.find(ours); e != nil {
		for _, trouble := range e.troubles() {
			list = append(list, what+": "+trouble)
		}
	}
	return list
}

// excuses returns the troubles of all; "" = nobody has any.
func (f fleet) excuses() string {
	var list []string
	for _, e := range f {
		list = append(list, e.troubles()...)
	}
	return strings.Join(list, " ")
}

// takeTurns calls do once a round for each entrant that is not out. After an error
// the entrant is started anew. There is a breath between rounds, for the last of
// one may be the first of the next, and some lose a trigger that comes too soon
// after an upgrade.
func (f fleet) takeTurns(ctx context.Context, env *Env, what string, rounds int, do func(round, i int, e *entrant) error) {
	var order []int
	for i := range f {
		order = append(order, i)
	}
	for round := range rounds {
		env.Progress("%s: round %d of %d", what, round+1, rounds)
		for _, i := range turn(order, round) {
			e := f[i]
			if e.out != nil || ctx.Err() != nil {
				continue
			}
			if err := do(round, i, e); err != nil && ctx.Err() == nil {
				e.startAnew(ctx, env, fmt.Errorf("round %d: %w; the last it said: %q", round+1, err, e.lastWords()))
			}
		}
		load.Pause(ctx, 100*time.Millisecond)
	}
}
