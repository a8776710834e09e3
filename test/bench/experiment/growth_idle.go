package experiment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/bench/report"
)

// idleLimit is how long an old process is waited for that has idle connections.
const idleLimit = 10 * time.Second

// An idleness has the figures of one kind with a number of idle connections, in
// ms.
type idleness struct {
	first, gone []float64
	stays       bool     // an old process had not gone after idleLimit: it is not waited for again
	troubles    []string // of the entrant
}

// growIdle measures upgrades with more and more idle connections.
func growIdle(ctx context.Context, env *Env, sec *report.Section) error {
	sizes, rounds := []int{0, 1000, 10_000}, 3
	if env.Quick {
		sizes, rounds = []int{0, 1000}, 1
	}
	sizes, err := affordable(sizes, sec)
	if err != nil {
		return err
	}
	kinds := growing(env)
	table := report.Table{Title: "Upgrade with idle connections, ms after the trigger", Columns: []string{""}}
	plots := idlePlots(kinds)
	for _, k := range kinds {
		table.Rows = append(table.Rows, []string{k.Name})
	}
	for _, n := range sizes {
		all := idleRounds(ctx, env, kinds, n, rounds)
		for i := range kinds {
			all[i].addTo(&table, i)
			all[i].addPoints(plots, i, n)
		}
		table.Columns = append(table.Columns, thousands(n)+": first answer", "gone")
		sec.Goals = append(sec.Goals, idleGoals(kinds, all, n)...)
		sec.Faults = append(sec.Faults, idleFaults(kinds, all, n)...)
	}
	sec.Tables, sec.Plots = append(sec.Tables, table), append(sec.Plots, plots...)
	return nil
}

// affordable returns the sizes for which the limit of open files is high enough.
func affordable(sizes []int, sec *report.Section) ([]int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil, fmt.Errorf("getrlimit: %w", err)
	}
	return slices.DeleteFunc(sizes, func(n int) bool {
		need := uint64(n + 1000)
		if need > limit.Cur {
			sec.Skipped = append(sec.Skipped, fmt.Sprintf("%s idle connections: they need a limit of %d open files (ulimit -n), and it is %d", thousands(n), need, limit.Cur))
		}
		return need > limit.Cur
	}), nil
}

// idleRounds upgrades all kinds in turn, each with n idle connections.
func idleRounds(ctx context.Context, env *Env, kinds []*peer.Kind, n, rounds int) []idleness {
	f := launch(ctx, env, kinds, peer.Config{Connections: n + 1000})
	defer f.close()
	all := make([]idleness, len(f))
	what := fmt.Sprintf("growth: idle connections %s", thousands(n))
	f.takeTurns(ctx, env, what, rounds, func(_, i int, e *entrant) error { return all[i].add(ctx, e, n) })
	for i, e := range f {
		all[i].troubles = e.troubles()
	}
	return all
}

// add upgrades an entrant once while n connections are idle.
func (d *idleness) add(ctx context.Context, e *entrant, n int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 3*idleLimit, fmt.Errorf("after %v", 3*idleLimit))
	defer cancel()
	if _, err := e.settled(ctx); err != nil {
		return err
	}
	callers, err := openIdle(ctx, e.HTTP[0], n)
	defer closeAll(callers)
	if err != nil {
		return err
	}
	took, err := e.upgrade(ctx, e.HTTP[0])
	if err != nil {
		return err
	}
	d.first = append(d.first, milliseconds(took[0]))
	if d.stays {
		return nil
	}
	patience, cancel := context.WithDeadline(ctx, e.triggered.Add(idleLimit))
	defer cancel()
	if _, err := e.settled(patience); err == nil {
		d.gone = append(d.gone, milliseconds(time.Since(e.triggered)))
	} else if patience.Err() != nil {
		d.stays = true
	} else {
		return err
	}
	return nil
}

// openIdle opens n connections, each of which carries one request.
func openIdle(ctx context.Context, address string, n int) ([]*caller, error) {
	callers := make([]*caller, n)
	errs := make([]error, 32)
	var wg sync.WaitGroup
	for w := range errs {
		wg.Go(func() {
			for i := w; i < n && errs[w] == nil && ctx.Err() == nil; i += len(errs) {
				callers[i], errs[w] = dialCaller(address)
			}
		})
	}
	wg.Wait()
	err := errors.Join(append(errs, ctx.Err())...)
	if err != nil {
		err = fmt.Errorf("opening %d connections: %w", n, err)
	}
	return callers, err
}

func closeAll(callers []*caller) {
	for _, c := range callers {
		if c != nil {
			c.close()
		}
	}
}
