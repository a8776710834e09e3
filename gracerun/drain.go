package gracerun

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gracerun/grace/gracerun/internal/handoff"
)

const (
	cleanupTimeout = 5 * time.Second // for each Cleanup
	cutGrace       = time.Second     // for what was cut, to notice
)

// beginDrain is the first step of every end.
func (l *life) beginDrain(o occurrence) {
	if o.event == evStop && l.owner && !o.now && l.stopDelay > 0 {
		l.beginDelay(o)
		return
	}
	l.drainNow(o)
}

// drainNow ends the taking, and has what is in hand finished.
func (l *life) drainNow(o occurrence) {
	switch {
	case o.event == evCommitted:
		l.sockets.Release()
		l.socket().release()
		l.log.Info("draining: the successor has taken over", "in_hand", describe(l.inHandNames()))
		defer l.nextUpgrade()
	case o.event == evFault:
		l.fault = fmt.Errorf("gracerun: %w", o.err)
		if l.owner {
			l.log.Error("draining: the service has failed", "error", o.err)
		} else {
			l.log.Error("this generation does not start", "error", o.err)
			l.self.Failed(l.startStage(), o.err)
		}
	case !l.owner:
		l.log.Info("this generation leaves before it has started", "why", o.why)
	default:
		l.log.Info("draining: the service stops", "why", o.why)
		l.sockets.Unlink() // no client is to find a file that nobody answers
	}
	served := l.stop()
	if !served {
		l.cut(ErrDraining) // there is nothing to finish but Setup
	} else if l.drainTimeout > 0 {
		l.mu.Lock()
		l.deadline = time.Now().Add(l.drainTimeout)
		l.mu.Unlock()
		time.AfterFunc(l.drainTimeout, func() { l.post(occurrence{event: evDeadline}) })
	}
	go l.drain(l.owner)
	if s := l.self.Successor(); s != nil {
		if len(l.work.tasks) > 0 {
			s.Released("", time.Time{}) // it may have looked before somebody steered a task here
		}
		l.reportInHand(s)
	}
}

// reportPeriod is how often a generation that drains tells its successor what it
// still has in hand.
const reportPeriod = 250 * time.Millisecond

// reportInHand does so until it is done. The newest generation hears it, whoever
// that is by then, and shows it.
func (l *life) reportInHand(s *handoff.Peer) {
	l.tellInHand(s)
	go func() {
		for {
			select {
			case <-time.After(reportPeriod):
				l.tellInHand(s)
			case <-l.done:
				return
			}
		}
	}()
}

func (l *life) tellInHand(p *handoff.Peer) {
	l.mu.Lock()
	until := l.deadline
	l.mu.Unlock()
	p.InHand(each(l.inHand(), func(h InHand) handoff.Work { return handoff.Work(h) }), until)
}

// stop ends the taking and reports whether there are accept loops; none starts
// any more.
func (l *life) stop() (served bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopTaking()
	return l.served
}

// cutWork is the drain's deadline.
func (l *life) cutWork() {
	if l.delayed != nil {
		l.endDelay(*l.delayed)
	}
	if l.end.do.Err() != nil {
		return
	}
	names := append(l.inHandNames(), l.jobs.stuck()...)
	l.late(names...)
	l.log.Warn("the drain deadline passed", "in_hand", describe(names))
	l.cut(ErrDrainTimeout)
}

func (l *life) exit(err error) {
	if err != nil {
		err = fmt.Errorf("gracerun: %w", err)
	}
	l.fault = errors.Join(l.fault, l.lateError(), err)
	l.forwardRest()
	for _, p := range l.self.Older() {
		p.Leaving()
	}
	if l.self.Successor() != nil && l.isFollowed() && !l.herald.isStopping() {
		l.fault = errors.Join(l.fault, errors.New("gracerun: the service has ended with the successor"))
	}
	l.self.Close()
	l.log.Info("done")
}

// drain lets what is in hand finish, once nothing is taken any more, and says so.
// It runs once, beside the owner of the state, which cuts it at the deadline by
// ending l.end.do. Only the owner of the service waits for older generations: to
// a child that fails, the older one is the owner.
func (l *life) drain(owner bool) {
	errs := l.drainServers()
	l.awaitBringUp()
	l.awaitJobs()
	l.cleaning.Store(true)
	errs = append(errs, l.cleanUp()...)
	<-l.upgradeIdle()
	last := l.self.Successor() == nil
	switch {
	case !last:
		l.outliveSuccessor()
		if l.isFollowed() && l.herald.isStopping() {
			l.awaitOlder() // the successor has not
		}
	case owner:
		l.awaitOlder()
		l.endCommands()
		l.forgetDue()
	}
	if s := l.supervisor(); s != nil {
		s.Close()
	}
	errs = append(errs, l.sockets.Close(), l.socket().close())
	if l.pid != nil {
		if last { // else the file is the successor's, also before it has written it
			errs = append(errs, l.pid.Remove())
		}
		errs = append(errs, l.pid.Close())
	}
	l.post(occurrence{event: evDrained, err: errors.Join(errs...)})
}

// awaitBringUp waits for a Setup or Check that is still under way. Its context
// has ended; one that does not care must not hold the process.
func (l *life) awaitBringUp() {
	select {
	case <-l.broughtUp:
	case <-time.After(cutGrace):
	}
}

// drainServers drains all at once: the order in which they finish is theirs.
func (l *life) drainServers() []error {
	if !l.serving() {
		return nil
	}
	errs := make([]error, len(l.work.servers))
	var wg sync.WaitGroup
	for i, s := range l.work.servers {
		wg.Go(func() {
			err := s.drain(l.end.do, l.addressesOf(s))
			switch {
			case err == nil:
			case l.end.do.Err() != nil: // the deadline's doing, reported by name
				l.late(l.nameOf(s))
			default:
				errs[i] = fmt.Errorf("%s: %w", l.nameOf(s), err)
			}
		})
	}
	wg.Wait()
	return errs
}

func (l *life) awaitJobs() {
	select {
	case <-l.jobs.finished():
	case <-l.end.do.Done():
		select {
		case <-l.jobs.finished():
		case <-time.After(cutGrace):
			l.jobs.abandon()
		}
	}
}

// cleanUp runs the Cleanup functions, the last one first. One that fails or does
// not end keeps no other from running.
func (l *life) cleanUp() []error {
	var errs []error
	for _, c := range slices.Backward(l.app.cleanups()) { // also those of a Setup that failed
		ctx, cancel := context.WithTimeout(context.WithoutCancel(l.end.do), cleanupTimeout)
		done := make(chan error, 1)
		go func() { done <- c.f(ctx) }()
		select {
		case err := <-done:
			if err != nil {
				errs = append(errs, fmt.Errorf("cleanup %q: %w", c.name, err))
			}
		case <-ctx.Done():
			errs = append(errs, fmt.Errorf("cleanup %q: not done after %v", c.name, cleanupTimeout))
		}
		cancel()
	}
	return errs
}

// awaitOlder is for the generation that exits last, the newest: whoever watches its
// pid, and whoever waits for the lock, then knows that the service is gone. It is an older
// one if the manager follows that: to wait for it would be for ever.
func (l *life) awaitOlder() {
	for _, p := range l.self.Older() {
		p.Stop(l.drainTimeout)
	}
	if l.isOutlived() {
		return
	}
	for _, p := range l.self.Older() {
		select {
		case <-p.Done():
			continue
		case <-l.end.do.Done():
		}
		select {
		case <-p.Done():
		case <-time.After(cutGrace):
			l.killOlder(p)
		}
	}
}

func (l *life) killOlder(p *handoff.Peer) {
	l.log.Warn("ending an older generation at the deadline", "generation", p.Generation, "pid", p.PID)
	l.late(fmt.Sprintf("generation %d (pid %d)", p.Generation, p.PID))
	if err := p.Kill(); err == nil {
		<-p.Done()
	}
}

// A job is one run of a task, or a goroutine that waits for its next one.
type job struct {
	name    string
	since   time.Time
	waiting bool // it has nothing in hand
}

// jobs are the tasks that run now.
type jobs struct {
	mu   sync.Mutex
	list []*job // the oldest first
	full chan struct{}
	// closing: the last one to end closes the list for good.
	closing, closed bool
}

func newJobs() *jobs { return &jobs{full: make(chan struct{})} }

// begin returns nil when it is too late.
func (j *jobs) begin(name string, waiting bool) *job {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return nil
	}
	b := &job{name: name, since: time.Now(), waiting: waiting}
	j.list = append(j.list, b)
	return b
}

func (j *jobs) set(b *job, waiting bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	b.waiting, b.since = waiting, time.Now()
}

func (j *jobs) end(b *job) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.list = slices.DeleteFunc(j.list, func(o *job) bool { return o == b })
	j.closeIfEmpty()
}

func (j *jobs) closeIfEmpty() {
	if j.closing && !j.closed && len(j.list) == 0 {
		j.closed = true
		close(j.full)
	}
}

// finished returns a channel that is closed when no job is left; from then on
// none can begin.
func (j *jobs) finished() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closing = true
	j.closeIfEmpty()
	return j.full
}

// abandon lets no job begin although some have not ended.
func (j *jobs) abandon() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
}

// inHand counts the runs by name, in the order of the oldest of each.
func (j *jobs) inHand() []InHand {
	j.mu.Lock()
	defer j.mu.Unlock()
	var list []InHand
	at := map[string]int{}
	for _, b := range j.list {
		if b.waiting {
			continue
		}
		i, ok := at[b.name]
		if !ok {
			i = len(list)
			at[b.name] = i
			list = append(list, InHand{Name: b.name, Since: b.since})
		}
		list[i].Count++
		if b.since.Before(list[i].Since) {
			list[i].Since = b.since
		}
	}
	return list
}

// stuck names the goroutines of tasks that wait although the drain has begun.
func (j *jobs) stuck() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var names []string
	for _, b := range j.list {
		if b.waiting {
			names = append(names, b.name+" (waiting)")
		}
	}
	return names
}

// inHandNames says what is in hand, for people.
func (l *life) inHandNames() []string { return names(l.inHand()) }

func names(list []InHand) []string {
	return each(list, func(h InHand) string { return fmt.Sprintf("%s: %d", h.Name, h.Count) })
}

// late notes what the deadline has cut. A name that is there already, maybe with
// a count, is not added again.
func (l *life) late(names ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range names {
		known := func(n string) bool { return n == name || strings.HasPrefix(n, name+": ") }
		if !slices.ContainsFunc(l.lateNames, known) {
			l.lateNames = append(l.lateNames, name)
		}
	}
}

// lateError is nil when the deadline has cut nothing.
func (l *life) lateError() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lateNames) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrDrainTimeout, strings.Join(l.lateNames, ", "))
}
