package handoff

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// These tests are in the package: the attempt sees the world through its
// function fields, and here they make up a child that does what the test says,
// in virtual time.

const childPID = 4711

var (
	errExit   = errors.New("child exited: exit status 1")
	errKilled = errors.New("child exited: signal: killed")
)

// A trial is an attempt with a made-up child.
type trial struct {
	t      *testing.T
	a      *attempt
	result chan error
	say    chan message
	give   context.CancelCauseFunc
	done   chan struct{} // closed when run has returned err
	err    error
	began  time.Time

	takesOver bool          // when it is told to
	gone      chan struct{} // closed at its exit; nil = nobody is between

	mu     sync.Mutex
	sent   []message
	stages []string
	killed []killing
	rest   []message // what flush finds
}

type killing struct {
	pid   int
	after time.Duration
}

func try(t *testing.T, l Limits) *trial {
	t.Helper()
	tr := &trial{t: t, result: make(chan error, 1), say: make(chan message), done: make(chan struct{}), began: time.Now()}
	tr.a = &attempt{
		start:    func() <-chan error { return tr.result },
		messages: tr.say,
		admit:    func(message) error { return nil },
		flush:    func() []message { return tr.rest },
		send:     tr.hear,
		kill:     tr.kill,
		words:    func(exit error) error { return exit },
		survived: func() <-chan struct{} { return tr.gone },
		progress: func(p Progress) { tr.note(func() { tr.stages = append(tr.stages, p.Stage) }) },
		limits:   l,
		nonce:    "N",
	}
	return tr
}

func (tr *trial) note(f func()) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	f()
}

// hear is what the child does about a message.
func (tr *trial) hear(m message) {
	tr.note(func() { tr.sent = append(tr.sent, m) })
	if m.Type == typeGo && tr.takesOver {
		tr.result <- nil
		go func() { tr.say <- message{Type: typeCommitted} }()
	}
}

func (tr *trial) kill(pid int) error {
	tr.note(func() { tr.killed = append(tr.killed, killing{pid, time.Since(tr.began)}) })
	if tr.gone != nil {
		close(tr.gone)
	} else {
		tr.result <- errKilled
	}
	return nil
}

// run begins the attempt.
func (tr *trial) run() *trial {
	ctx, give := context.WithCancelCause(tr.t.Context())
	tr.give = give
	go func() {
		defer close(tr.done)
		tr.err = tr.a.run(ctx)
	}()
	synctest.Wait()
	return tr
}

func (tr *trial) hello() *trial {
	tr.say <- message{Type: typeHello, Protocol: protocol, Nonce: "N", PID: childPID}
	return tr
}

func (tr *trial) stage(stage string) *trial {
	tr.say <- message{Type: typeStage, Stage: stage}
	return tr
}

func (tr *trial) serving() *trial {
	tr.say <- message{Type: typeServing}
	return tr
}

func (tr *trial) failed(stage, words string) *trial {
	tr.say <- message{Type: typeFailed, Stage: stage, Error: words}
	return tr
}

func (tr *trial) exit(err error) *trial {
	tr.result <- err
	return tr
}

// says returns the types of the messages to the child, in order.
func (tr *trial) says() string {
	synctest.Wait()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	var types []string
	for _, m := range tr.sent {
		types = append(types, m.Type)
	}
	return strings.Join(types, " ")
}

func (tr *trial) commits() {
	tr.t.Helper()
	<-tr.done
	if tr.err != nil {
		tr.t.Errorf("run returned %v", tr.err)
	}
}

// refuses waits for the end, and compares the refusal.
func (tr *trial) refuses(pid int, stage, words string) {
	tr.t.Helper()
	<-tr.done
	refusal := new(Refusal)
	if !errors.As(tr.err, &refusal) {
		tr.t.Fatalf("run returned %v", tr.err)
	}
	if refusal.PID != pid || refusal.Stage != stage || refusal.Err.Error() != words {
		tr.t.Errorf("refused: pid %d at %s: %v\nwant:    pid %d at %s: %s", refusal.PID, refusal.Stage, refusal.Err, pid, stage, words)
	}
}

// kills compares when which pid was killed.
func (tr *trial) kills(want ...killing) {
	tr.t.Helper()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if !slices.Equal(tr.killed, want) {
		tr.t.Errorf("killed %v, want %v", tr.killed, want)
	}
}

var usual = Limits{Ready: time.Minute, Probation: 500 * time.Millisecond, Drain: 30 * time.Second}

func TestCommit(t *testing.T) {
	t.Parallel()
	for name, l := range map[string]Limits{
		"usual":        usual,
		"no probation": {Ready: time.Minute, Drain: time.Second},
		"no limits":    {Ready: -1, Probation: time.Hour, Drain: -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tr := try(t, l)
				tr.takesOver = true
				tr.run().hello().stage(StageSetup).stage(StageListen).stage(StageCheck)
				if l.Ready < 0 {
					time.Sleep(1000 * time.Hour)
				}
				begin := time.Now()
				tr.serving()
				tr.commits()
				if took := time.Since(begin); took != max(l.Probation, 0) {
					t.Errorf("probation took %v", took)
				}
				if got := tr.says(); got != "go" {
					t.Errorf("the child was told %q", got)
				}
				want := []string{StageStart, StageInit, StageSetup, StageListen, StageCheck, StageProbation, StageCommit}
				if !slices.Equal(tr.stages, want) {
					t.Errorf("stages: %q", tr.stages)
				}
				tr.kills()
			})
		})
	}
}

// TestReadyTimeoutIsDisarmed: what serves is not timed out.
func TestReadyTimeoutIsDisarmed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := try(t, Limits{Ready: time.Minute, Probation: time.Hour, Drain: time.Second}).run().hello()
		time.Sleep(59 * time.Second)
		tr.serving()
		time.Sleep(time.Hour)
		if got := tr.says(); got != "go" {
			t.Errorf("after the probation: %q", got)
		}
		time.Sleep(commitTimeout)
		tr.exit(nil).commits()
		tr.kills()
	})
}

// TestCommitTimeout ends a child that was told to take over and does not; one
// that says it did, or whose ready byte is on its way, is left alone.
func TestCommitTimeout(t *testing.T) {
	t.Parallel()
	told := func(t *testing.T) *trial {
		tr := try(t, Limits{Ready: time.Minute, Drain: time.Second}).run().hello().serving()
		synctest.Wait()
		return tr
	}
	t.Run("hangs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := told(t)
			tr.refuses(childPID, StageCommit, "it was told to take over and did not")
			tr.kills(killing{childPID, commitTimeout + confirmTime})
		})
	})
	t.Run("hangs, and the service stops", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := told(t)
			tr.give(errors.New("stop"))
			tr.refuses(childPID, StageCommit, "it was told to take over and did not")
			tr.kills(killing{childPID, abortGrace + confirmTime})
		})
	})
	t.Run("does, and dies before it says so", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := told(t)
			begin := time.Now()
			tr.exit(nil).commits()
			if took := time.Since(begin); took != confirmTime {
				t.Errorf("it was believed after %v", took)
			}
			tr.kills()
		})
	})
	t.Run("says it did", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := told(t)
			tr.say <- message{Type: typeCommitted}
			tr.give(errors.New("too late"))
			time.Sleep(time.Hour)
			tr.exit(nil).commits()
			tr.kills()
		})
	})
}

// TestBetweenDies: who is told of the child's exit, and of its commit, hears of
// neither, because the process between has died.
func TestBetweenDies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		play  func(*trial)
		stage string // "" = it commits
		words string
		says  string
		kills []killing
	}{
		"leaves": {func(tr *trial) { tr.exit(errExit); synctest.Wait(); close(tr.gone) },
			StageInit, errParted.Error(), "abort", nil},
		"hangs": {func(tr *trial) { tr.exit(errExit) },
			StageInit, errParted.Error(), "abort", []killing{{childPID, abortGrace}}},
		"serves": {func(tr *trial) { tr.serving().exit(errExit) },
			StageProbation, errParted.Error(), "abort", []killing{{childPID, usual.Drain + drainGrace}}},
		"told, commits": {func(tr *trial) {
			tr.serving().says()
			time.Sleep(usual.Probation)
			tr.exit(errExit).says()
			tr.say <- message{Type: typeCommitted}
		}, "", "", "go", nil},
		"told, has said that it commits": {func(tr *trial) {
			tr.serving()
			time.Sleep(usual.Probation)
			tr.say <- message{Type: typeCommitted}
			tr.exit(errExit)
		}, "", "", "go", nil},
		"told, dies": {func(tr *trial) {
			tr.serving()
			time.Sleep(usual.Probation)
			tr.exit(errKilled).says()
			close(tr.gone)
		}, StageCommit, errKilled.Error(), "go", nil},
		"told, hangs": {func(tr *trial) {
			tr.serving()
			time.Sleep(usual.Probation)
			tr.exit(errKilled)
		}, StageCommit, "it was told to take over and did not", "go", []killing{{childPID, usual.Probation + abortGrace + confirmTime}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tr := try(t, usual)
				tr.gone = make(chan struct{})
				c.play(tr.run().hello())
				if c.stage == "" {
					tr.commits()
				} else {
					tr.refuses(childPID, c.stage, c.words)
				}
				if got := tr.says(); got != c.says {
					t.Errorf("the child was told %q", got)
				}
				tr.kills(c.kills...)
			})
		})
	}
}

func TestReadyTimeout(t *testing.T) {
	t.Parallel()
	const words, busy = "not serving after 1m0s", ": the child is still busy with setup"
	t.Run("before hello", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := try(t, usual).run()
			tr.refuses(0, StageStart, words+": the child never spoke")
			tr.kills(killing{0, time.Minute})
		})
	})
	t.Run("leaves", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := try(t, usual).run().hello().stage(StageSetup)
			time.Sleep(61 * time.Second)
			if got := tr.says(); got != "abort" || tr.sent[0].Error != words+busy {
				t.Errorf("the child was told %q", got)
			}
			tr.exit(errExit).refuses(childPID, StageSetup, words+busy)
			tr.kills()
		})
	})
	t.Run("another App", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := try(t, usual).run().hello()
			tr.say <- message{Type: typeOther, App: "admin"}
			time.Sleep(61 * time.Second)
			tr.exit(errExit).refuses(childPID, StageInit, words+`: the child runs an App called "admin", and none called as this one: App.Name must stay the same`)
		})
	})
	t.Run("beside another App", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := try(t, usual).run().hello()
			tr.say <- message{Type: typeOther, App: "admin"}
			tr.stage(StageSetup).refuses(childPID, StageSetup, words+busy)
		})
	})
	t.Run("hangs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := try(t, usual).run().hello().stage(StageSetup)
			tr.refuses(childPID, StageSetup, words+busy)
			tr.kills(killing{childPID, time.Minute + abortGrace})
		})
	})
	t.Run("serves after all", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := try(t, usual).run().hello()
			time.Sleep(time.Minute + abortGrace/2)
			tr.serving() // its requests are requests: it is given the time to drain
			tr.refuses(childPID, StageInit, words+": the child runs, but its App has not come as far as Setup")
			tr.kills(killing{childPID, time.Minute + abortGrace/2 + usual.Drain + drainGrace})
			if got := tr.says(); got != "abort" {
				t.Errorf("the child was told %q", got)
			}
		})
	})
}

// TestChildDies has it die after each step, of itself.
func TestChildDies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		play  func(*trial)
		pid   int
		stage string
	}{
		"at once":           {func(*trial) {}, 0, StageStart},
		"after hello":       {func(tr *trial) { tr.hello() }, childPID, StageInit},
		"in Setup":          {func(tr *trial) { tr.hello().stage(StageSetup) }, childPID, StageSetup},
		"in Check":          {func(tr *trial) { tr.hello().stage(StageCheck) }, childPID, StageCheck},
		"in its probation":  {func(tr *trial) { tr.hello().serving() }, childPID, StageProbation},
		"told to take over": {func(tr *trial) { tr.hello().serving(); time.Sleep(time.Second) }, childPID, StageCommit},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tr := try(t, usual).run()
				c.play(tr)
				synctest.Wait()
				tr.exit(errExit).refuses(c.pid, c.stage, errExit.Error())
				tr.kills()
			})
		})
	}
}

// TestFailed: its own words count, not the exit status that follows.
func TestFailed(t *testing.T) {
	t.Parallel()
	t.Run("exits", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := try(t, usual).run().hello().stage(StageSetup).failed(StageSetup, "no database")
			tr.exit(errExit).refuses(childPID, StageSetup, "no database")
			tr.kills()
			if got := tr.says(); got != "" {
				t.Errorf("the child was told %q", got)
			}
		})
	})
	t.Run("does not exit", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := try(t, usual).run().hello().stage(StageSetup).failed(StageSetup, "no database")
			tr.refuses(childPID, StageSetup, "no database")
			tr.kills(killing{childPID, abortGrace})
		})
	})
	t.Run("in its probation", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := try(t, usual).run().hello().serving().failed(StageProbation, "lost its disk")
			tr.refuses(childPID, StageProbation, "lost its disk")
			tr.kills(killing{childPID, usual.Drain + drainGrace})
			if got := tr.says(); got != "" {
				t.Errorf("the child was told %q", got)
			}
		})
	})
	t.Run("the first reason counts", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := try(t, usual).run().hello().failed(StageSetup, "first").failed(StageCheck, "second")
			tr.give(errors.New("third"))
			tr.exit(errExit).refuses(childPID, StageSetup, "first")
		})
	})
}

// TestFailsInCheck: the accept loops run before Check does, so what fails there
// may have requests in hand.
func TestFailsInCheck(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*trial){
		"failed":  func(tr *trial) { tr.failed(StageCheck, "not good") },
		"aborted": func(tr *trial) { tr.give(errors.New("not good")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tr := try(t, usual).run().hello().stage(StageListen).stage(StageCheck)
				end(tr)
				tr.refuses(childPID, StageCheck, "not good")
				tr.kills(killing{childPID, usual.Drain + drainGrace})
			})
		})
	}
}

func TestGivenUp(t *testing.T) {
	t.Parallel()
	cause := errors.New("changed my mind")
	t.Run("before hello", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := try(t, usual).run()
			tr.give(cause)
			tr.refuses(0, StageStart, cause.Error())
			tr.kills(killing{0, 0})
		})
	})
	t.Run("in Setup", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := try(t, usual).run().hello().stage(StageSetup)
			tr.give(cause)
			tr.refuses(childPID, StageSetup, cause.Error())
			tr.kills(killing{childPID, abortGrace})
			if got := tr.says(); got != "abort" {
				t.Errorf("the child was told %q", got)
			}
		})
	})
	t.Run("in its probation", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := try(t, usual).run().hello().serving()
			tr.give(cause)
			time.Sleep(usual.Drain) // it drains; the probation would be over by now
			if got := tr.says(); got != "abort" {
				t.Errorf("the child was told %q", got)
			}
			tr.exit(errExit).refuses(childPID, StageProbation, cause.Error())
			tr.kills()
		})
	})
	t.Run("hangs in its drain", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := try(t, usual).run().hello().serving()
			tr.give(cause)
			tr.refuses(childPID, StageProbation, cause.Error())
			tr.kills(killing{childPID, usual.Drain + drainGrace})
		})
	})
	t.Run("drains without limit", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := try(t, Limits{Drain: -1, Probation: time.Hour}).run().hello().serving()
			tr.give(cause)
			time.Sleep(1000 * time.Hour)
			tr.exit(errExit).refuses(childPID, StageProbation, cause.Error())
			tr.kills()
		})
	})
}

// TestGivenUpTooLate: the child was told to take over, and may have done so.
// Told to leave, it would leave as the owner of the service.
func TestGivenUpTooLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := try(t, usual).run().hello().serving()
		time.Sleep(time.Second)
		tr.give(context.DeadlineExceeded)
		if got := tr.says(); got != "go" {
			t.Errorf("the child was told %q", got)
		}
		tr.exit(nil).commits()
		tr.kills()
	})
}

// TestLateHello: the attempt was given up before there was a process to kill.
func TestLateHello(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := try(t, usual)
		tr.a.kill = func(pid int) error {
			if pid == 0 {
				return errors.New("no process has its channel")
			}
			return tr.kill(pid)
		}
		tr.run().give(errors.New("changed my mind"))
		time.Sleep(time.Second)
		tr.hello()
		if got := tr.says(); got != "abort abort" {
			t.Errorf("the child was told %q", got)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		tr.kills(killing{childPID, time.Second + abortGrace})
		if len(tr.killed) == 0 {
			tr.exit(errExit)
		}
		<-tr.done
	})
}

// TestCannotKill reports both: why it was to leave, and why it did not.
func TestCannotKill(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := try(t, usual)
		denied := errors.New("operation not permitted")
		tr.a.kill = func(int) error { return denied }
		tr.run().hello()
		time.Sleep(time.Hour)
		tr.exit(errExit)
		<-tr.done
		if !errors.Is(tr.err, denied) || !strings.Contains(tr.err.Error(), "not serving after 1m0s") {
			t.Errorf("run returned %v", tr.err)
		}
	})
}

// TestFlush: what a child said before it died is heard, even if its exit was
// noticed first.
func TestFlush(t *testing.T) {
	t.Parallel()
	said := func(types ...message) []message { return types }
	hello := message{Type: typeHello, PID: childPID, Nonce: "N", Protocol: protocol}
	stage := func(s string) message { return message{Type: typeStage, Stage: s} }
	failed := message{Type: typeFailed, Stage: StageListen, Error: "address already in use"}
	for name, c := range map[string]struct {
		rest         []message
		stage, words string
		pid          int
	}{
		"nothing": {nil, StageStart, errExit.Error(), 0},
		"hello":   {said(hello), StageInit, errExit.Error(), childPID},
		"stages":  {said(hello, stage(StageSetup), stage(StageListen)), StageListen, errExit.Error(), childPID},
		"failed":  {said(hello, stage(StageSetup), failed), StageListen, "address already in use", childPID},
		"serving": {said(hello, stage(StageCheck), message{Type: typeServing}), StageProbation, errExit.Error(), childPID},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tr := try(t, usual)
				tr.rest = c.rest
				tr.run().exit(errExit).refuses(c.pid, c.stage, c.words)
			})
		})
	}
	t.Run("given up", func(t *testing.T) { // where it was when it was given up stays the answer
		synctest.Test(t, func(t *testing.T) {
			tr := try(t, usual)
			tr.rest = said(stage(StageListen), message{Type: typeServing}, failed)
			tr.run().hello().stage(StageSetup)
			tr.give(errors.New("changed my mind"))
			tr.exit(errExit).refuses(childPID, StageSetup, "changed my mind")
		})
	})
}

// TestWrongHello is a process that answers, but not this attempt.
func TestWrongHello(t *testing.T) {
	t.Parallel()
	for words, m := range map[string]message{
		"the child answers another upgrade":                {Type: typeHello, Protocol: protocol, Nonce: "M", PID: childPID},
		"the child speaks protocol 0, this build speaks 1": {Type: typeHello, Nonce: "N", PID: childPID},
	} {
		synctest.Test(t, func(t *testing.T) {
			tr := try(t, usual).run()
			tr.say <- m
			tr.refuses(childPID, StageStart, words)
			tr.kills(killing{childPID, abortGrace})
		})
	}
}

// TestChildThatIsNotAdmitted is refused before it serves.
func TestChildThatIsNotAdmitted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := try(t, Limits{})
		tr.a.admit = func(m message) error {
			if m.PID != childPID {
				t.Errorf("asked for %+v", m)
			}
			return errors.New("who are you?")
		}
		tr.run()
		tr.say <- message{Type: typeHello, Protocol: protocol, Nonce: "N", PID: childPID}
		tr.refuses(childPID, StageStart, "who are you?")
		tr.kills(killing{childPID, abortGrace})
	})
}

// TestNewerChild: what this build does not know does not disturb it.
func TestNewerChild(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := try(t, Limits{}).run()
		tr.say <- message{Type: typeHello, Protocol: protocol + 1, Nonce: "N", PID: childPID}
		tr.say <- message{Type: "mood"}
		tr.stage("meditation").serving()
		if got := tr.says(); got != "go" {
			t.Errorf("the child was told %q", got)
		}
		tr.exit(nil).commits()
	})
}

// TestMessagesEnd: the channel may break before the child ends.
func TestMessagesEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := try(t, usual).run().hello()
		close(tr.say)
		tr.refuses(childPID, StageInit, "not serving after 1m0s: the child runs, but its App has not come as far as Setup")
		tr.kills(killing{childPID, time.Minute + abortGrace})
	})
}

func TestRefusal(t *testing.T) {
	t.Parallel()
	r := &Refusal{PID: 1, Stage: StageSetup, Err: errExit}
	if r.Error() != "setup: "+errExit.Error() || !errors.Is(r, errExit) {
		t.Errorf("%v", r)
	}
}
