package verbs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gracerun/grace/pidfile"
)

// who is stopping, for people.
func (s *stopping) who() string {
	if status := s.status.Load(); status != nil && !s.free {
		return pidList([]int{status.PID})
	}
	if pids := s.alive(); len(pids) > 0 {
		return pidList(pids)
	}
	return s.first.who()
}

// show says what is in hand, and how long it may take.
func (s *stopping) show(now time.Time) {
	if s.free {
		s.progress.show(now, fmt.Sprintf("the service has ended, waiting for %s to exit", s.who()), s.left(now))
		return
	}
	text := []string{"waiting for " + s.who()}
	left := s.left(now)
	if status := s.status.Load(); status != nil {
		if status.TakesUntil.After(now) {
			text[0] += ", who still takes work for " + short(status.TakesUntil.Sub(now).Round(time.Second))
		}
		text[0] = withWork(text[0], status.InFlight)
		for _, g := range status.Generations {
			if g.PID != status.PID {
				text = append(text, withWork(fmt.Sprintf("generation %d (pid %d)", g.Number, g.PID), g.InFlight))
			}
		}
		if stateCode(status.State) != statusDraining { // it is about to say how long
			left = ""
		}
	}
	s.progress.show(now, strings.Join(text, "; "), left)
}

// left is the time until the service itself cuts what is in hand or, where that is not
// known or over, until the next step.
func (s *stopping) left(now time.Time) string {
	end := s.until()
	if d := s.deadline; d.After(now) && !s.free && (end.IsZero() || d.Before(end)) {
		end = d
	}
	if end.IsZero() {
		return ""
	}
	return left(end, now)
}

// stopped tells the good end.
func (s *stopping) stopped(ctx context.Context) {
	took := short(time.Since(s.began))
	s.tidy(ctx)
	if len(s.killed) > 0 {
		slices.Sort(s.killed)
		s.say("killed (%s) after %s: what was in hand is lost", pidList(s.killed), took)
		return
	}
	s.say("stopped (%s) after %s", s.first.who(), took)
}

func (s *stopping) stillThere(ctx context.Context) error {
	if s.free {
		return fmt.Errorf("the service has ended, but %s has not exited", s.who())
	}
	k := s.probe(ctx)
	return fmt.Errorf("not stopped: the lock %s is still held, by %s; see: %s status", pidfile.LockPath(s.PIDFile), k.who(), s.Name)
}
