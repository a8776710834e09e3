package experiment

import (
	"context"
	"fmt"
	"time"

	"github.com/gracerun/grace/test/bench/peer"
)

// upgrade triggers and waits until a new process answers, no longer than limit.
func upgrade(ctx context.Context, s *peer.Server, limit time.Duration) (pid int, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("within %v", limit))
	defer cancel()
	old, err := s.PIDs()
	if err != nil {
		return 0, err
	}
	if err := s.Trigger(); err != nil {
		return 0, err
	}
	pid, _, err = s.AwaitNew(ctx, s.HTTP[0], old, time.Millisecond)
	return pid, err
}
