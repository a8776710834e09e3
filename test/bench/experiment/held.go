package experiment

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/load"
)

// hold makes a request that takes d, and returns when a handler has it in hand.
// What becomes of it comes from the channel.
func hold(ctx context.Context, s *peer.Server, d time.Duration) (<-chan load.Outcome, error) {
	client := load.Slow{Target: load.Target{Address: s.HTTP[0]}, Sleep: d}
	return holding(ctx, s, client.Do)
}

// holding calls ask, which makes a request to /sleep, and returns when a handler
// has it in hand. What ask returns comes from the channel.
func holding[T any](ctx context.Context, s *peer.Server, ask func() T) (<-chan T, error) {
	done := make(chan T, 1)
	go func() { done <- ask() }()
	for {
		text, err := s.Get(ctx, "/sleeping")
		if err == nil && strings.TrimSpace(text) != "0" {
			return done, nil
		}
		select {
		case o := <-done:
			return nil, fmt.Errorf("a request that takes long ended at once: %+v", o)
		case <-ctx.Done():
			return nil, fmt.Errorf("a request that takes long is not in hand: %w", context.Cause(ctx))
		case <-time.After(2 * time.Millisecond):
		}
	}
}
