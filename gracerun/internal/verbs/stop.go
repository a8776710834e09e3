package verbs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gracerun/grace/gracerun/internal/control"
	"github.com/gracerun/grace/pidfile"
)

// stop ends when the lock is free and the processes have exited: then all generations have
// gone.
func stop(c *call, ctx context.Context, _ []string) error {
	plan, err := c.stopPlan()
	if err != nil {
		return err
	}
	ctx, cancel := interruptible(ctx)
	defer cancel()
	k := c.probe(ctx)
	if !k.running() {
		if k.lock != nil {
			return k.lock
		}
		c.tidy(ctx)
		if left := c.orphans(); left != "" {
			return errors.New("not running, but " + left)
		}
		c.say("not running")
		return nil
	}
	for _, w := range c.warnings(k) {
		c.note("%s", w)
	}
	s := &stopping{call: c, crew: newCrew(c.Service), began: time.Now(), first: k}
	s.status.Store(k.status)
	defer s.release()
	if pid := k.owner(); pid != 0 {
		s.meet(pid)
	}
	defer s.watch(ctx)()
	return s.follow(ctx, plan)
}

// stopPlan is the schedule: the one that is given, or enough time for the service to finish.
func (c *call) stopPlan() (schedule, error) {
	t, own := c.options.timeout, c.options.schedule
	switch {
	case t.given && own.text != "":
		return own, c.usage("stop: --timeout is a short form of --schedule: use one of them")
	case own.text != "":
		return own, nil
	case !t.given && c.StopTimeout > 0:
		return patient(c.StopTimeout + killMargin), nil
	case t.limit > 0:
		return patient(t.limit), nil
	}
	return patient(noLimit), nil
}

// killMargin is for the service to end by itself, after its own limit.
const killMargin = 5 * time.Second

// stopping is a service that is being stopped.
type stopping struct {
	*call
	*crew
	began    time.Time
	first    *known                         // at the beginning
	status   atomic.Pointer[control.Status] // what it said last; nil = it does not answer
	deadline time.Time                      // when its own patience ends, if it has said so
	free     bool                           // the lock is: now the processes have to exit

	step      step
	stepBegan time.Time
	told      map[int]bool // who got the step's signal

	reached bool // somebody got a signal, at some time
	asked   bool // over the control socket
	killed  []int
}

// watch keeps asking the service how far it is, so that nobody waits for a slow answer. It
// goes on until the function that it returns is called.
func (s *stopping) watch(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			status, _ := s.ask(ctx)
			s.status.Store(status)
			wait(ctx, 5*tick)
		}
	}()
	return func() { cancel(); <-done }
}

// follow goes through the schedule until the service has ended.
func (s *stopping) follow(ctx context.Context, plan schedule) error {
	for i := 0; ; {
		if i == len(plan.steps) {
			if i = plan.repeat; i == len(plan.steps) {
				return s.stillThere(ctx)
			}
		}
		s.step, s.stepBegan, s.told = plan.steps[i], time.Now(), map[int]bool{}
		if gone, err := s.waitFor(ctx); gone || err != nil {
			return err
		}
		if i++; i < len(plan.steps) && plan.steps[i].signal != 0 {
			s.note("not stopped within %s: sending %s", short(s.until().Sub(s.stepBegan)), signalName(plan.steps[i].signal))
		}
	}
}

// waitFor carries out one step. A process that takes over meanwhile gets the signal, too:
// the one that its predecessor got has ended nothing but the predecessor.
func (s *stopping) waitFor(ctx context.Context) (gone bool, err error) {
	for {
		there, err := s.there(ctx)
		switch {
		case err != nil:
			return false, err
		case !there:
			s.stopped(ctx)
			return true, nil
		case ctx.Err() != nil:
			return false, fmt.Errorf("%w: no longer waiting for %s, which goes on stopping; see: %s status", context.Cause(ctx), s.who(), s.Name)
		}
		err = s.signal(ctx)
		now := time.Now()
		switch until := s.until(); {
		case errors.Is(err, fs.ErrPermission):
			return false, err
		case err != nil && !s.reached && !s.asked && now.Sub(s.stepBegan) > answerTimeout:
			return false, fmt.Errorf("somebody holds the lock, and nobody can be shown to: nobody was signalled: %w", err)
		case !until.IsZero() && !now.Before(until):
			return false, nil
		}
		s.show(now)
		wait(ctx, tick)
	}
}

// until is when the step is over; zero = never. A service whose own patience is longer than
// the default gets its time: it may have been started with other flags.
func (s *stopping) until() time.Time {
	if s.step.wait < 0 {
		return time.Time{}
	}
	until := s.stepBegan.Add(s.step.wait)
	given := s.options.timeout.given || s.options.schedule.text != ""
	if own := s.deadline.Add(killMargin); !given && s.step.signal == syscall.SIGTERM && !s.deadline.IsZero() && own.After(until) {
		return own
	}
	return until
}

// there reports whether the service is, or one of its processes. It also believes one that
// answers though its lock file was deleted. What was started since is another one, which
// nobody has asked to stop.
func (s *stopping) there(ctx context.Context) (bool, error) {
	if s.free {
		return len(s.alive()) > 0, nil
	}
	status := s.status.Load() // before the look at the lock: it is not of whoever comes next
	held, err := pidfile.Held(s.PIDFile)
	if err != nil {
		return false, err
	}
	if !held && !s.first.held {
		_, err := s.ask(ctx)
		held = err == nil
	}
	if s.free = !held || s.replaced(ctx); s.free {
		return len(s.alive()) > 0, nil
	}
	if status != nil {
		s.deadline = status.Deadline
		for _, g := range status.Generations {
			s.meet(g.PID)
		}
	}
	return true, nil
}

// replaced reports whether the lock was free, and who has it now is another service: nobody
// who is known has it, and it is just being started. Else it may have been handed over in
// an upgrade.
func (s *stopping) replaced(ctx context.Context) bool {
	if len(s.processes) == 0 || s.first.begins() || s.hold() {
		return false // of a start, the one who has begun it may be all that is known
	}
	k := s.look(ctx)
	switch {
	case !k.held || k.starting:
		return true
	case k.status != nil && k.status.Generation == 1 && s.processes[k.status.PID] == nil:
		return true
	case k.owner() != 0 && len(k.holders) == 0:
		s.meet(k.owner())
	}
	return false
}

// targets are the owners or, to be killed, all. They are found before it is seen that those
// who are known still have the lock: else it may be another service's.
func (s *stopping) targets(status *control.Status, kill bool) ([]int, error) {
	pids, err := s.owners(status)
	if kill {
		pids = append(pids, s.holders()...)
	}
	if len(s.processes) > 0 && !s.hold() { // who has it, the next look will tell
		pids = nil
	}
	if kill {
		pids = append(pids, s.alive()...)
	}
	return pids, err
}

// signal tells those that have not been told in this step: the owner of the service, who
// tells the others; to be killed, all. The error is why nobody can be.
func (s *stopping) signal(ctx context.Context) error {
	kill := s.step.signal == syscall.SIGKILL
	if s.step.signal == 0 || s.free && !kill {
		return nil
	}
	status := s.status.Load()
	pids, err := s.targets(status, kill)
	for _, pid := range pids {
		if s.told[pid] || kill && pid == os.Getpid() {
			continue
		}
		terr := s.tell(pid, s.step.signal)
		if errors.Is(terr, errUnproved) {
			continue
		}
		if terr != nil {
			return terr
		}
		s.told[pid], s.reached = true, true
		if kill && !slices.Contains(s.killed, pid) {
			s.killed = append(s.killed, pid)
		}
	}
	if len(s.processes) == 0 && status != nil && !s.asked && s.step.signal == syscall.SIGTERM {
		// It cannot be shown to hold the lock, but it can be asked.
		s.asked = control.NewClient(s.Socket).Stop(ctx) == nil
	}
	if len(s.told) > 0 || s.asked {
		return nil
	}
	return cmp.Or(err, errUnproved)
}
