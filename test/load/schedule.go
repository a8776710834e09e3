package load

import (
	"context"
	"sync/atomic"
	"time"
)

// schedule says when the requests of an open loop are due. Its clients share it.
type schedule struct {
	ctx   context.Context
	start time.Time
	step  time.Duration
	taken atomic.Int64

	ended chan struct{} // closed when ctx has ended and end is set
	end   time.Time
}

// newSchedule begins now and ends with ctx, which must end.
func newSchedule(ctx context.Context, rate float64) *schedule {
	s := &schedule{ctx: ctx, start: time.Now(), step: step(rate), ended: make(chan struct{})}
	context.AfterFunc(ctx, func() {
		s.end = time.Now()
		close(s.ended)
	})
	return s
}

// step returns the time between two requests.
func step(rate float64) time.Duration {
	return max(time.Duration(float64(time.Second)/rate), 1)
}

// next waits until a request is due, and returns that time, which is past if
// all clients were busy then. It returns false if the schedule has ended before.
func (s *schedule) next() (due time.Time, ok bool) {
	due = s.start.Add(time.Duration(s.taken.Add(1)-1) * s.step)
	if Pause(s.ctx, time.Until(due)) {
		return due, true
	}
	<-s.ended
	return due, due.Before(s.end)
}
