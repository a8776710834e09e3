//go:build linux

package test

import (
	"strings"
	"testing"
	"time"
)

// heldSteps are the moments of a hand-over, in order, at which the new process
// waits for the test, so that it, or the old one, is killed or stopped there.
var heldSteps = []string{
	"spawn", // it runs, and has not said hello
	"init",  // it has said hello; main has not begun
	"setup",
	"check", // it serves
}

// probation is long enough to be met by a test.
var probation = times{probation: 500 * time.Millisecond}

// inProbation begins an upgrade, and returns the new process when both serve.
func (s *scene) inProbation() (pid int) {
	s.t.Helper()
	h := s.childAt("check")
	h.tell("go")
	s.logs("stage=probation")
	return h.pid
}

// told begins an upgrade, and returns the new process when it has been told to
// take over; it is stopped and has not heard of it.
func (s *scene) told() (pid int) {
	s.t.Helper()
	pid = s.inProbation()
	s.stop(pid)
	s.logs("stage=commit")
	return pid
}

// TestOldKilled kills the old generation, SIGKILL, in the middle of a hand-over.
// The new one carries on as the owner, and loses only what the dead had in hand.
func TestOldKilled(t *testing.T) {
	t.Parallel()
	var faults []fault
	for _, step := range heldSteps {
		faults = append(faults, fault{name: "at " + step, serves: 2,
			do: func(s *scene) {
				h := s.childAt(step)
				s.kill(s.owner())
				h.tell("go")
			},
			says: []string{"generation=2", "the predecessor is dead: this generation carries on"}})
	}
	runFaults(t, append(faults,
		fault{name: "in probation", serves: 2, times: probation,
			do: func(s *scene) {
				s.inProbation()
				s.kill(s.owner())
			},
			says: []string{"generation=2", "the predecessor is dead: this generation carries on"}},
		fault{name: "after go", serves: 2, times: probation,
			do: func(s *scene) {
				pid := s.told()
				s.kill(s.owner())
				s.cont(pid)
			},
			says: []string{"generation=2", "msg=ready"}},
		fault{name: "while it drains", serves: 2,
			do: func(s *scene) {
				s.hold("draining")
				s.hup()
				s.kill(s.wait("draining").pid)
			},
			says: []string{"generation=2", "msg=ready"}},
	))
}

// TestOldStopped stops the old generation, SIGSTOP, in the middle of a hand-over
// and lets it continue later. The new one serves meanwhile.
func TestOldStopped(t *testing.T) {
	t.Parallel()
	var faults []fault
	for _, step := range heldSteps {
		faults = append(faults, fault{name: "at " + step, serves: 2,
			do: func(s *scene) {
				h, old := s.childAt(step), s.owner()
				s.stop(old)
				h.tell("go")
				s.answers(2)
				s.cont(old)
			}})
	}
	runFaults(t, append(faults,
		fault{name: "in probation", serves: 2, times: probation,
			do: func(s *scene) {
				s.inProbation()
				old := s.owner()
				s.stop(old)
				s.answers(2)
				s.cont(old)
			}},
		fault{name: "after go", serves: 2, times: probation,
			do: func(s *scene) {
				pid, old := s.told(), s.owner()
				s.stop(old)
				s.cont(pid)
				s.serves(2)
				s.cont(old)
			}},
		fault{name: "while it drains", serves: 2,
			do: func(s *scene) {
				s.hold("draining")
				s.hup()
				old := s.wait("draining")
				s.stop(old.pid)
				old.tell("go")
				s.serves(2)
				s.cont(old.pid)
			}},
	))
}

// TestNewKilled kills the new generation, SIGKILL. Up to the commit the old one
// serves on.
func TestNewKilled(t *testing.T) {
	t.Parallel()
	stage := map[string]string{"spawn": "start", "init": "init", "setup": "setup", "check": "check"}
	var faults []fault
	for _, step := range heldSteps {
		faults = append(faults, fault{name: "at " + step, serves: 1,
			do:   func(s *scene) { s.kill(s.childAt(step).pid) },
			says: []string{refused, "stage=" + stage[step], "signal: killed"}})
	}
	runFaults(t, append(faults,
		fault{name: "in probation", serves: 1, times: probation,
			do:   func(s *scene) { s.kill(s.inProbation()) },
			says: []string{refused, "stage=probation", "signal: killed"}},
		fault{name: "after go", serves: 1, times: probation,
			do:   func(s *scene) { s.kill(s.told()) },
			says: []string{refused, "stage=commit", "signal: killed"}},
	))
}

// TestNewStopped stops the new generation, SIGSTOP, and lets it continue: the
// upgrade takes longer, that is all.
func TestNewStopped(t *testing.T) {
	t.Parallel()
	var faults []fault
	for _, step := range heldSteps {
		faults = append(faults, fault{name: "at " + step, serves: 2,
			do: func(s *scene) {
				h := s.childAt(step)
				s.stop(h.pid)
				h.tell("go")
				s.answers(1)
				s.cont(h.pid)
			}})
	}
	runFaults(t, append(faults,
		fault{name: "in probation", serves: 2, times: probation,
			do: func(s *scene) {
				pid := s.inProbation()
				s.stop(pid)
				s.answers(1)
				s.cont(pid)
			}},
		fault{name: "after go", serves: 2, times: probation,
			do: func(s *scene) {
				pid := s.told()
				s.answers(1)
				s.cont(pid)
			}},
		fault{name: "for longer than it may take to serve", serves: 1, times: times{ready: time.Second},
			do:   func(s *scene) { s.stop(s.childAt("setup").pid) },
			says: []string{refused, "stage=setup", "not serving after 1s"}},
	))
}

// TestNewCrashes has the new generation end by itself after it began to serve.
func TestNewCrashes(t *testing.T) {
	t.Parallel()
	// crash gives an order to the new process, which takes it at any time.
	crash := func(order string) func(*scene) {
		return func(s *scene) {
			s.wait("standby") // the first generation goes on standing by
			pid := s.inProbation()
			s.wait("standby").tell(order)
			s.logs(refused)
			s.killed = append(s.killed, death{pid, time.Now()})
		}
	}
	runFaults(t, []fault{
		{name: "panics in probation", serves: 1, times: probation, do: crash("panic out of luck"),
			says: []string{refused, "stage=probation", "exit status 2", "panic: out of luck"}},
		{name: "exits in probation", serves: 1, times: probation, do: crash("exit out of luck"),
			says: []string{refused, "stage=probation", "exit status 3", "out of luck"}},
		{name: "is terminated in probation", serves: 1, times: probation,
			do: func(s *scene) {
				s.term(s.inProbation())
				s.logs(refused)
			},
			says: []string{refused, "stage=probation", "terminated"}},
	})
}

// TestCrashAtCommit: that the new generation has committed, and that it is dead, are one
// piece of news. Whatever the old one makes of it, it makes whole: it serves on as if
// nothing had been, or it has let go.
func TestCrashAtCommit(t *testing.T) {
	t.Parallel()
	const most = 40 // it is one or the other, by chance
	for range most {
		s := newScene(t, probation, nil)
		old := s.owner()
		s.hold("ready")
		dead := s.told()
		s.stop(old)
		s.cont(dead)
		s.wait("ready")
		s.kill(dead)
		s.must(s.Exited(s.ctx, dead))
		s.cont(old)
		servesOn := false
		s.until(func() bool {
			text := s.Log()
			servesOn = strings.Contains(text, refused)
			return servesOn || strings.Contains(text, "upgrade committed")
		}, "nothing is said of the upgrade")
		if !servesOn {
			s.gone(old)
			continue
		}
		if pid := s.owner(); pid != old {
			t.Errorf("the pid file names %d, and %d serves on", pid, old)
		}
		s.alone()
		s.nothingPrepared()
		s.upgrade()
		s.alone()
		s.finish()
		return
	}
	t.Errorf("it has let go %d times, and never served on", most)
}

// TestCrashAfterCommit is what an upgrade does not protect from: the old
// generation has let go. It still finishes what it has in hand, nothing of the
// dead one is in the way of a new start, and that one can be upgraded.
func TestCrashAfterCommit(t *testing.T) {
	t.Parallel()
	s := newScene(t, times{}, nil)
	request := s.slowRequest()
	old := s.owner()
	s.hold("ready")
	s.hup()
	crashed := s.wait("ready")
	s.logs("generation=1", "upgrade committed") // else it would serve on
	s.kill(crashed.pid)
	s.logs("generation=1", "the successor is dead")
	request.finish()
	s.gone(old)
	if pid, err := s.PID(); pid != 0 || err != nil {
		t.Errorf("pid %d owns the service (%v), want nobody", pid, err)
	}
	s.must(s.Restart())
	s.serves(1)
	s.upgrade()
	s.alone()
	s.finish()
}
