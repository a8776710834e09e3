package handoff

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// Stages of an upgrade, in order: where it is, or where it failed.
const (
	StageWait      = "wait"      // at the cap: for an older generation to end
	StageStart     = "start"     // the process is started, it has not spoken yet
	StageInit      = "init"      // it runs, the App does not yet
	StageSetup     = "setup"     // App.Setup
	StageListen    = "listen"    // adopting and opening sockets
	StageCheck     = "check"     // App.Check
	StageProbation = "probation" // it serves, both do
	StageCommit    = "commit"    // it was told to take over
)

// abortGrace is the time a child has to leave that was asked to and serves
// nobody.
const abortGrace = 2 * time.Second

// commitTimeout is how long a child that serves may take to take over once it
// was told: it has one byte to write. A moment more, confirmTime, is for a
// parent that was itself stopped meanwhile (SIGSTOP) to hear that it did, and for a
// child to write its pid.
const (
	commitTimeout = 10 * time.Second
	confirmTime   = time.Second
)

// drainGrace is what a child that serves may need beyond its drain deadline.
const drainGrace = 2 * time.Second

// A Refusal is an upgrade that failed and changed nothing.
type Refusal struct {
	PID   int // of the child, 0 when there was none or it never spoke
	Stage string
	Err   error
}

func (r *Refusal) Error() string { return r.Stage + ": " + r.Err.Error() }
func (r *Refusal) Unwrap() error { return r.Err }

// Limits are the times of one attempt, and the cap. Zero and negative mean no
// limit; for Probation they mean none is held.
type Limits struct {
	Ready       time.Duration // from the start to serving
	Probation   time.Duration // from serving to the commit
	Drain       time.Duration // that an aborted child has for what it serves
	Generations int           // alive at once
}

// Progress is one step of an upgrade.
type Progress struct {
	Stage   string
	PID     int    // of the child, once it spoke
	Version string // of the child, once it serves
	For     *Peer  // StageWait: who is waited for
}

// An attempt is one try to replace this generation: the child is started,
// watched, told to take over, or asked to leave. It sees the world through its
// function fields, so that each time-out is tested in no time.
type attempt struct {
	start    func() <-chan error    // starts the child; nil = it took over, an error = it is gone
	messages <-chan message         // what the child says
	flush    func() []message       // what it said and messages did not yet deliver; the child is gone
	admit    func(message) error    // what keeps a child that says hello from being the next generation
	send     func(message)          // never waits
	kill     func(pid int) error    // SIGKILL; pid 0 = find it
	survived func() <-chan struct{} // closed at the child's exit; nil = it is gone with the process between, or there is none
	words    func(exit error) error // the child's own words, for one that just exited
	progress func(Progress)
	limits   Limits

	nonce   string
	pid     int
	version string
	stage   string
	other   string // an App of another name, which is the first that came
	cause   error  // why it was given up; nil = it was not
	told    bool   // told to take over: from here only its exit is a failure
	overdue bool   // it was told, and commitTimeout has passed
	owner   bool   // it said that it has taken over
	alive   bool   // its accept loops run: its requests are requests too

	ready, probation, last <-chan time.Time
}

// run returns nil once the child has taken over, else a *Refusal, and then the
// child is gone.
func (a *attempt) run(ctx context.Context) error {
	a.enter(StageStart)
	result := a.start()
	a.ready = timer(a.limits.Ready)
	done := ctx.Done()
	var gone <-chan struct{} // of a child whose process between has died
	var exit error
	for {
		if gone != nil && a.owner {
			return nil
		}
		select {
		case exit = <-result:
			if exit == nil {
				a.confirm()
				return nil
			}
			if gone = a.survived(); gone == nil {
				return a.refusal(exit)
			}
			a.abort(errParted)
		case <-gone:
			return a.refusal(exit)
		case m, ok := <-a.messages:
			if !ok {
				a.messages = nil
				continue
			}
			a.hear(m)
		case <-a.ready:
			a.ready = nil
			a.abort(a.late())
		case <-a.probation:
			a.probation = nil
			a.commit()
		case <-done:
			done = nil
			a.abort(context.Cause(ctx))
		case <-a.last:
			a.last = nil
			a.end()
		}
	}
}

// errParted gives up a child whose end, and whose ready byte, the engine hears of no
// more.
var errParted = errors.New("the process between the two generations died")

// confirm waits until the child that took over says that the service is its own: its
// pid is where everybody looks by then. One that died meanwhile says nothing.
func (a *attempt) confirm() {
	limit := timer(confirmTime)
	for !a.owner && a.messages != nil {
		select {
		case m, ok := <-a.messages:
			if !ok {
				return
			}
			a.hear(m)
		case <-limit:
			return
		}
	}
}

// late says what the child did instead of serving in time.
func (a *attempt) late() error {
	switch a.stage {
	case StageStart:
		return fmt.Errorf("not serving after %v: the child never spoke", a.limits.Ready)
	case StageInit:
		if a.other != "" {
			return fmt.Errorf("not serving after %v: the child runs an App called %q, and none called as this one: App.Name must stay the same", a.limits.Ready, a.other)
		}
		return fmt.Errorf("not serving after %v: the child runs, but its App has not come as far as Setup", a.limits.Ready)
	}
	return fmt.Errorf("not serving after %v: the child is still busy with %s", a.limits.Ready, a.stage)
}

func (a *attempt) enter(stage string) {
	a.stage = stage
	a.progress(Progress{Stage: stage, PID: a.pid, Version: a.version})
}

func (a *attempt) hear(m message) {
	switch m.Type {
	case typeHello:
		a.pid = m.PID
		if m.Nonce != a.nonce {
			a.abort(errors.New("the child answers another upgrade"))
		} else if m.Protocol < 1 {
			a.abort(fmt.Errorf("the child speaks protocol %d, this build speaks %d", m.Protocol, protocol))
		} else if err := a.admit(m); err != nil {
			a.abort(err)
		} else if a.cause == nil {
			a.enter(StageInit)
		} else { // given up before it could hear it
			a.send(message{Type: typeAbort, Error: a.cause.Error()})
			a.last = timer(a.patience())
		}
	case typeStage:
		a.alive = a.alive || m.Stage == StageCheck
		if a.cause == nil {
			a.enter(m.Stage)
		}
	case typeOther:
		a.other = cmp.Or(a.other, m.App)
	case typeServing:
		a.alive, a.version = true, m.Version
		if a.cause != nil {
			a.last = timer(a.patience())
			return
		}
		a.ready = nil // disarmed for good: what serves is not timed out
		a.enter(StageProbation)
		if a.limits.Probation <= 0 {
			a.commit()
			return
		}
		a.probation = timer(a.limits.Probation)
	case typeCommitted:
		a.owner, a.last = true, nil
	case typeFailed:
		if a.cause == nil {
			a.stage, a.cause = m.Stage, errors.New(m.Error)
		}
		a.ready, a.probation = nil, nil
		a.last = timer(a.patience())
	}
}

func (a *attempt) commit() {
	if a.cause != nil {
		return
	}
	a.told = true
	a.last = timer(commitTimeout)
	a.enter(StageCommit) // before it is told: what must not overlap ends now
	a.send(message{Type: typeGo})
}

// abort asks the child to finish what it has in hand and exit. For one that was
// told to take over it is too late: it may have done so already, and its exit or
// its ready byte says how it went.
func (a *attempt) abort(cause error) {
	if a.cause != nil {
		return
	}
	if a.told {
		if !a.overdue && !a.owner {
			a.last = timer(abortGrace)
		}
		return
	}
	a.send(message{Type: typeAbort, Error: cause.Error()})
	a.cause = cause
	a.ready, a.probation = nil, nil
	if a.pid == 0 {
		a.end() // it never spoke: it hears nothing either
		return
	}
	a.last = timer(a.patience())
}

// patience is how long the child may take to leave.
func (a *attempt) patience() time.Duration {
	switch {
	case !a.alive:
		return abortGrace
	case a.limits.Drain <= 0:
		return 0
	default:
		return a.limits.Drain + drainGrace
	}
}

func (a *attempt) end() {
	if a.told && a.cause == nil {
		if !a.overdue {
			a.overdue = true
			a.last = timer(confirmTime)
			return
		}
		a.cause = errors.New("it was told to take over and did not")
	}
	err := a.kill(a.pid)
	switch {
	case err == nil:
	case a.pid == 0: // it is only being started: try again
		a.last = timer(abortGrace)
	default:
		a.cause = fmt.Errorf("%w (and it cannot be ended: %w)", a.cause, err)
	}
}

// refusal is what to say of a child that is gone.
func (a *attempt) refusal(exit error) error {
	for _, m := range a.flush() {
		switch m.Type {
		case typeHello:
			a.pid = m.PID
			if a.cause == nil {
				a.stage = StageInit
			}
		case typeStage:
			if a.cause == nil {
				a.stage = m.Stage
			}
		case typeServing:
			if a.cause == nil {
				a.stage = StageProbation
			}
		case typeFailed:
			if a.cause == nil {
				a.stage, a.cause = m.Stage, errors.New(m.Error)
			}
		}
	}
	if a.cause == nil {
		a.cause = a.words(exit)
	}
	return &Refusal{PID: a.pid, Stage: a.stage, Err: a.cause}
}

// timer returns nil, which never fires, for a time that is not limited.
func timer(d time.Duration) <-chan time.Time {
	if d <= 0 {
		return nil
	}
	return time.After(d)
}
