package experiment

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/load"
)

// settled waits until no process is left that an upgrade has replaced, and
// returns those that are there. Meanwhile it asks now and then: an old process
// that is stuck in a blocking accept(2), as some peers', leaves with the next
// connection.
func (e *entrant) settled(ctx context.Context) ([]int, error) {
	for {
		now, err := e.Server.PIDs()
		switch {
		case err != nil:
			return nil, err
		case len(now) == 0:
			return nil, errDied
		case len(now) <= e.rest:
			return now, nil
		}
		peer.Ask(ctx, e.HTTP[0])
		if !load.Pause(ctx, 5*time.Millisecond) {
			return nil, fmt.Errorf("%d processes, not %d, %w", len(now), e.rest, context.Cause(ctx))
		}
	}
}

// visit asks every few ms until stop is called: what settled does is not enough
// where the time of an exit is measured.
func (e *entrant) visit(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for load.Pause(ctx, 5*time.Millisecond) {
			peer.Ask(ctx, e.HTTP[0])
		}
	})
	return func() { cancel(); wg.Wait() }
}

// upgrade lets the last upgrade come to its end and begins another. It returns
// how long after the trigger each of the addresses, asked one after the other,
// was first answered by a process that had not been there before.
func (e *entrant) upgrade(ctx context.Context, addresses ...string) (took []time.Duration, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, upgradeLimit, fmt.Errorf("after %v", upgradeLimit))
	defer cancel()
	old, err := e.settled(ctx)
	if err != nil {
		return nil, err
	}
	e.triggered = time.Now()
	if err := e.Trigger(); err != nil {
		return nil, err
	}
	for _, address := range addresses {
		at, err := e.awaitNew(ctx, address, old)
		if err != nil {
			return nil, err
		}
		took = append(took, at.Sub(e.triggered))
	}
	return took, nil
}

// awaitNew asks, each time on a new connection and as soon as the last question
// is answered, until a process answers that is none of old, and returns when that
// answer was complete. A failed question is none.
//
// There is no pause between the questions: while both generations serve, either
// may get one, and the pause would be measured too. It does not hold the new
// process up either: with pauses of 0.1 to 1 ms the raw limit is not faster.
func (e *entrant) awaitNew(ctx context.Context, address string, old []int) (time.Time, error) {
	_, at, err := e.AwaitNew(ctx, address, old, 0)
	if err != nil {
		return at, e.silence(ctx)
	}
	return at, nil
}

// silence says why no new process has answered.
func (e *entrant) silence(ctx context.Context) error {
	if now, err := e.Server.PIDs(); err == nil && len(now) == 0 {
		return errDied
	}
	return fmt.Errorf("no new process %w", context.Cause(ctx))
}
