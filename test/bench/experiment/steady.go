package experiment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/bench/report"
)

const steadyText = "No upgrade, nothing but requests: GET / on 4 keep-alive connections, each of which sends the next\n" +
	"request when it has the answer. Client and servers share the machine. In each round every server has its turn of\n" +
	"the same length; the order changes; a ratio is of one round, and the figure is the median. CPU time is that of the\n" +
	"server's process alone (`schedstat`), so that the client does not dilute it. Allocations are from\n" +
	"`runtime.MemStats` of the server, and system calls from `strace` (only those that succeed: how often a read finds\n" +
	"nothing yet is chance), both over some thousand requests on one connection, one at a time."

// steady compares what a request costs with plain net/http.
func steady(ctx context.Context, env *Env) (*report.Section, error) {
	sec := &report.Section{ID: "steady", Title: "Steady state", Text: steadyText}
	rounds, slot, traced := 60, 200*time.Millisecond, 2000
	if env.Quick {
		rounds, slot, traced = 10, 100*time.Millisecond, 300
	}
	var all []*running
	for _, k := range env.pick(peer.MemStats, ours, plain) {
		if k.Name != ours && k.Name != plain && k.Name != tableflip {
			continue // the others are net/http, too
		}
		s, err := env.Builder.Start(ctx, k, peer.Config{})
		if err != nil {
			return sec, err
		}
		defer s.Close()
		all = append(all, &running{Server: s})
	}
	floor := slices.IndexFunc(all, func(r *running) bool { return r.Name == plain })
	if floor < 0 {
		sec.Skipped = []string{plain + " does not take part: there is nothing to compare with"}
		return sec, nil
	}
	for round := range rounds {
		env.Progress("steady: round %d of %d", round+1, rounds)
		for _, r := range turn(all, round) {
			if err := r.serve(ctx, slot); err != nil {
				return sec, fmt.Errorf("%s: %w", r.Name, err)
			}
		}
	}
	for _, r := range all {
		if err := errors.Join(r.countAllocations(ctx), r.countCalls(ctx, traced)); err != nil {
			sec.Skipped = append(sec.Skipped, fmt.Sprintf("%s: %v", r.Name, err))
		}
	}
	steadyReport(sec, all, all[floor])
	return sec, ctx.Err()
}

// running is a server and what it has cost.
type running struct {
	*peer.Server
	rate        []float64  // requests per second, of each round
	cpu         []float64  // microseconds of CPU for a request, likewise
	allocations float64    // for a request; 0 = not known
	calls       *callCount // for a request; nil = not known
}

// serve has the server answer for a while on 4 connections.
func (r *running) serve(ctx context.Context, slot time.Duration) error {
	var callers []*caller
	for range 4 {
		c, err := dialCaller(r.HTTP[0])
		if err != nil {
			return err
		}
		defer c.close()
		callers = append(callers, c)
	}
	before, err := cpuTime(r.Newest())
	if err != nil {
		return err
	}
	start := time.Now()
	n, err := callAll(ctx, callers, slot)
	took := time.Since(start)
	if err != nil {
		return err
	}
	after, err := cpuTime(r.Newest())
	r.rate = append(r.rate, float64(n)/took.Seconds())
	r.cpu = append(r.cpu, float64((after-before).Nanoseconds())/1e3/float64(n))
	return err
}

// callAll makes n requests in the time that a slot has: each of the callers one
// after the other.
func callAll(ctx context.Context, callers []*caller, slot time.Duration) (n int, err error) {
	const batch = 20
	var wg sync.WaitGroup
	counts, errs := make([]int, len(callers)), make([]error, len(callers))
	end := time.Now().Add(slot)
	for i, c := range callers {
		wg.Go(func() {
			for ctx.Err() == nil && errs[i] == nil && time.Now().Before(end) {
				errs[i] = c.call(batch)
				counts[i] += batch
			}
		})
	}
	wg.Wait()
	for _, count := range counts {
		n += count
	}
	if n == 0 {
		return 0, context.Cause(ctx)
	}
	return n, errors.Join(errs...)
}
