package command

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"
)

// history is what the next start depends on.
type history struct {
	Failures []time.Time   `json:"failures,omitempty"` // those within the period, oldest first
	Pause    time.Duration `json:"pause,omitempty"`    // the last one, before the jitter
}

// maxFailures is how many may be allowed: the record has the time of each.
const maxFailures = 1000

// fail counts a failure, and reports whether it is one too many.
func (h *history) fail(s Spec, now time.Time) (giveUp bool) {
	limit := cmp.Or(s.Failures, 10)
	if limit < 0 {
		return false
	}
	h.Failures = append(h.Failures, now)
	if s.FailurePeriod > 0 {
		h.Failures = slices.DeleteFunc(h.Failures, func(at time.Time) bool { return now.Sub(at) > s.FailurePeriod })
	}
	return len(h.Failures) >= limit
}

// next returns the pause before the next start of a program that ran for ran. It
// waits for between half and all of it, so that many programs that failed at once
// do not come back at once.
func (h *history) next(s Spec, ran time.Duration) time.Duration {
	switch {
	case h.Pause == 0 || ran >= s.MaxBackoff:
		h.Pause = s.Backoff
	default:
		h.Pause *= 2
	}
	h.Pause = min(h.Pause, s.MaxBackoff)
	if h.Pause <= 0 {
		return 0
	}
	return h.Pause/2 + rand.N(h.Pause/2+1)
}
