package gracerun

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gracerun/grace/gracerun/internal/handoff"
)

// TestYield: at the begin of the probation, and only then, the old generation
// waits before each accept.
func TestYield(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		s, e := performUpgrades(t, &app)
		answer := s.call(t.Context())
		<-e.begun
		l := app.running()
		steps := func() (n int) {
			for begin := time.Now(); time.Since(begin) == 0 && n < 100; n++ {
				l.yield.pause()
			}
			return n
		}
		if n := steps(); n != 100 {
			t.Errorf("it waits before the %dth accept, and nobody else accepts", n)
		}
		l.progress(handoff.Progress{Stage: handoff.StageProbation})
		begin := time.Now()
		for steps() == 1 {
		}
		if d := time.Since(begin); d < yieldFor || d > yieldFor+yieldPause {
			t.Errorf("it waited for %v, want %v", d, yieldFor)
		}
		e.result <- refusal()
		<-answer
		s.end()
		<-s.done
	})
}
