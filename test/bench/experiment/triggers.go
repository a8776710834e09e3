package experiment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/bench/report"
	"github.com/gracerun/grace/test/load"
)

const triggersText = "Upgrades asked for at odd moments, while some 150 requests a second are made. *At once*: 2, or 10, within\n" +
	"a millisecond; then it is watched until no new process has come for 2 s. *While the predecessor drains*: the old\n" +
	"process has a request of 4 s in hand when it is replaced, and takes no more; then the new one is to be replaced, and\n" +
	"has 10 s for it; gracerun's probation is 100 ms then. Five services run at a time, so that times are rough."

// triggers asks for upgrades before the last one has come to its end.
func triggers(ctx context.Context, env *Env) (*report.Section, error) {
	var all []*hurry
	for _, k := range env.pick(peer.Upgrade, ours) {
		if k.Name == rawLimit {
			continue // it is here for its speed
		}
		for _, n := range []int{2, 10, drained} {
			all = append(all, &hurry{kind: k, n: n})
		}
	}
	together(5, all, func(h *hurry) {
		env.Progress("triggers: %s, %s", h.kind.Name, h.what())
		h.err = h.run(ctx, env)
	})
	return triggersReport(all), ctx.Err()
}

// A hurry is one upgrade that comes too soon after another.
type hurry struct {
	kind *peer.Kind
	n    int // triggers at once, or drained

	came   int           // new processes that answered
	serves string        // in the end: "old", "new", "nobody"
	took   time.Duration // of the upgrade in the drain; 0 = it did not come
	words  string        // what the service says of a failure; "" = nothing
	held   error         // what became of the request that the old one had in hand; nil = it was answered
	seen   load.Stat
	lost   []load.Failure
	err    error // why all this is not known
}

// drained stands for one trigger, while the predecessor drains.
const drained = 1

var errNoDrain = errors.New("the old process has left before the new one takes over")

func (h *hurry) what() string {
	if h.n == drained {
		return "a trigger while the predecessor drains"
	}
	return fmt.Sprintf("%d triggers at once", h.n)
}

func (h *hurry) run(ctx context.Context, env *Env) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var cfg peer.Config
	if h.n == drained {
		cfg.Probation = 100 * time.Millisecond
	}
	s, err := env.Builder.Start(ctx, h.kind, cfg)
	if err != nil {
		return err
	}
	defer s.Close()
	old, err := s.PIDs()
	if err != nil {
		return err
	}
	var runner load.Runner
	result := under(ctx, &runner, light(s), func(ctx context.Context) {
		if !load.Pause(ctx, 100*time.Millisecond) { // every client has its connection
			return
		}
		if h.n == drained {
			err = h.inDrain(ctx, s)
		} else {
			err = h.atOnce(ctx, s, old)
		}
		h.serves = serving(ctx, s, old)
	})
	h.seen, h.lost = result.Total(), result.Failures
	return err
}

// atOnce triggers n times, and counts who comes.
func (h *hurry) atOnce(ctx context.Context, s *peer.Server, old []int) error {
	const quiet, most = 2 * time.Second, 20 * time.Second
	from := len(s.Log())
	for range h.n {
		if err := s.Trigger(); err != nil { // somebody who is in execve(2), or has left
			h.words = "the trigger: " + err.Error()
		}
	}
	known := slices.Clone(old)
	begin := time.Now()
	for last := begin; time.Since(last) < quiet && time.Since(begin) < most; {
		pid, err := peer.Ask(ctx, s.HTTP[0])
		if err == nil && !slices.Contains(known, pid) {
			known, last = append(known, pid), time.Now()
			h.came++
		}
		if !load.Pause(ctx, 5*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
	if words := complaint(s.LogFrom(from), s.Root); words != "" {
		h.words = words
	}
	return nil
}

// inDrain upgrades twice: the second time while the process that the first one has
// replaced has a request in hand.
func (h *hurry) inDrain(ctx context.Context, s *peer.Server) error {
	old, err := s.PIDs()
	if err != nil {
		return err
	}
	held, err := hold(ctx, s, 4*time.Second)
	if err != nil {
		return err
	}
	if _, err := upgrade(ctx, s, 10*time.Second); err != nil {
		return err
	}
	if err := leftAlone(ctx, s, old); err != nil {
		return err
	}
	from := len(s.Log())
	if len(held) > 0 {
		return errNoDrain
	}
	begin := time.Now()
	if _, err := upgrade(ctx, s, 10*time.Second); err == nil {
		h.took = time.Since(begin)
	}
	h.words = complaint(s.LogFrom(from), s.Root)
	if o := <-held; o.Failure != nil {
		h.held = o.Failure
	}
	return nil
}

// leftAlone waits until the new processes answer all of 20 questions in a row: the
// old ones take no more.
func leftAlone(ctx context.Context, s *peer.Server, old []int) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	for row := 0; row < 20; row++ {
		pid, err := peer.Ask(ctx, s.HTTP[0])
		if ctx.Err() != nil {
			return errors.New("the old process still answers 3s after the new one has")
		}
		if err != nil || slices.Contains(old, pid) {
			row = -1
		} else {
			s.Answered(pid)
		}
	}
	return nil
}

// faults returns what a service must not do.
func (h *hurry) faults() (list []string) {
	fault := func(format string, args ...any) {
		list = append(list, "triggers: "+h.what()+": "+fmt.Sprintf(format, args...))
	}
	if h.err != nil {
		fault("%v", h.err)
		return list
	}
	if h.serves != "new" {
		fault("%s serves in the end", h.serves)
	}
	if len(h.lost) > 0 {
		fault("%d failed requests, the first: %v", len(h.lost), &h.lost[0])
	}
	if h.n == drained && h.took == 0 {
		fault("no new process in 10s: %s", h.words)
	}
	if h.held != nil {
		fault("the request in hand: %v", h.held)
	}
	return list
}
