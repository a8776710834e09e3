// Command demo shows what gracerun is for: it makes example/http a daemon, keeps it busy
// with clients that never try again, replaces it ten times by SIGHUP, tries three
// broken programs in between, and says what became of every request.
//
//	go run ./example/demo
//
// It takes about 15 seconds, needs the go command and Linux, and leaves no
// process and no file behind. The exit status is 0 if nothing was lost.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gracerun/grace/test/load"
)

const (
	warmUp = 700 * time.Millisecond // of load, before anything happens
	calm   = 300 * time.Millisecond // before each upgrade
	settle = 200 * time.Millisecond // after it, for the clients to move over: this still counts as upgrading
)

// plan is what is installed, one after the other: good is example/http, the
// others are the programs below bad.
func plan() []string {
	return []string{good, good, good, "exits", good, good, "hangs", good, good, "crashes", good, good, good}
}

// A story is all that the report tells.
type story struct {
	began   time.Time
	first   int // pid of generation 1
	tries   []try
	result  *load.Result
	clients []load.Group
}

func main() {
	ctx, hurry := interruptible()
	t := newTerminal(os.Stdout)
	told, err, left := play(ctx, hurry, t)
	t.clear()
	switch {
	case left != nil:
		fmt.Fprintln(os.Stderr, "demo:", errors.Join(err, left))
		os.Exit(1)
	case ctx.Err() != nil:
		fmt.Fprintf(os.Stderr, "demo: stopped early (%v); no process and no file is left\n", context.Cause(ctx))
		os.Exit(130) // as of a command that SIGINT has ended
	case err != nil:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
	if lost := report(t, told); lost > 0 {
		os.Exit(1)
	}
}

// play runs the whole demo. When it returns no process and no file is left, or
// left says which.
func play(ctx, hurry context.Context, t *terminal) (told *story, err, left error) {
	told = &story{began: time.Now()}
	dir, err := os.MkdirTemp("", "gracerun-demo-")
	if err != nil {
		return nil, err, nil
	}
	defer func() { left = errors.Join(left, os.RemoveAll(dir)) }()

	const building = "building example/http and three broken programs"
	t.event(building)
	draw := func() { t.draw("%s: %s", building, brief(time.Since(told.began))) }
	if err := meanwhile(draw, func() error { return build(ctx, dir) }); err != nil {
		return nil, err, nil
	}
	s, err := start(ctx, dir)
	if err != nil {
		return nil, err, nil
	}
	told.first, told.clients = s.daemon, clients(s.address)
	t.event("example/http is a daemon now, pid %d, and listens on %s", s.daemon, s.address)

	l := begin(told.clients)
	defer l.wait()
	defer func() { left = s.end(hurry) }()
	defer l.stop()
	if told.tries, err = perform(ctx, s, l, t); err != nil {
		return nil, err, nil
	}
	l.stop()
	draw = func() { t.draw("waiting for the requests in hand: %d", l.Snapshot().InFlight) }
	err = meanwhile(draw, func() error {
		told.result = l.wait()
		return nil
	})
	return told, err, nil
}

// perform makes the upgrades, good and bad, while the load goes on.
func perform(ctx context.Context, s *service, l *running, t *terminal) (tries []try, err error) {
	if err := pause(ctx, warmUp); err != nil {
		return nil, err
	}
	steps := plan()
	var crashed []load.Failure
	for i, program := range steps {
		draw := func() { t.draw("%s", l.line(i, len(steps), program, len(crashed))) }
		err := meanwhile(draw, func() error {
			if err := pause(ctx, calm); err != nil {
				return err
			}
			defer l.Window()()
			try, err := s.upgrade(ctx, program)
			if err != nil {
				return err
			}
			tries = append(tries, try)
			t.event("%5.1fs  %v", time.Since(l.began).Seconds(), try)
			return pause(ctx, settle)
		})
		if err != nil {
			return nil, err
		}
		_, crashed = sort(l.Result().Failures, tries)
	}
	return tries, pause(ctx, calm)
}

// meanwhile calls draw now and then until f has returned.
func meanwhile(draw func(), f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		draw()
		select {
		case err := <-done:
			return err
		case <-tick.C:
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
