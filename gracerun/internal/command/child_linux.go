package command

import (
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
)

// A child is one program, from Run to its end: what it is, and what is to become of
// it. One goroutine goes from step to step; others leave it a word, and kick it.
type child struct {
	s    *Supervisor
	spec Spec
	path string // of its files, but for their endings
	log  *slog.Logger
	line *regexp.Regexp // of ReadyLine
	sink *sink

	turn    chan struct{} // closed when it may start: those before it are ready
	settled chan struct{} // closed when those after it may
	quit    chan struct{} // closed at the end of Run
	told    chan struct{} // closed when it then has been told to end, or need not be
	kick    chan struct{} // holds one token: something may be asked
	removed bool          // it is no longer registered, and is to end

	mu     sync.Mutex
	record record

	// The rest is the goroutine's own.
	proc    *process
	streams [2]stream
	notify  *notifySock
	watch   *watch // for the conditions of being ready; nil: nobody waits
	changed bool   // the definition, or it is to be restarted anyway
	fresh   bool   // it was started in its turn
	over    bool   // quit was seen
	legacy  *parcel
	unknown bool // what a predecessor has left
}

// A request is what somebody wants of a program, once.
type request int

const (
	nothing request = iota
	resume
	trigger
)

// A step is a state of the child: it returns the next, or nil at the end.
type step func() step

// run goes from step to step, until the end of Run.
func (c *child) run() {
	defer c.settle()
	defer c.tell()
	for next := step(c.begin); next != nil; {
		next = next()
	}
	switch {
	case c.unknown: // it is left as it was
	case c.over && c.s.leaving:
		c.bequeath()
	case c.proc != nil: // it was killed, and is not gone
		c.bequeath()
		c.legacy.close()
	default:
		c.wants() // it is too late
		os.Remove(c.path + ".json")
		if c.removed {
			os.Remove(c.path + pausedFile)
		}
	}
}

func (c *child) settle() { closeOnce(c.settled) }
func (c *child) tell()   { closeOnce(c.told) }

// closeOnce is for a channel that only this goroutine closes.
func closeOnce(c chan struct{}) {
	if isOpen(c) {
		close(c)
	}
}

func isOpen(c <-chan struct{}) bool {
	select {
	case <-c:
		return false
	default:
		return true
	}
}

// An event is what a step waits for.
type event int

const (
	evQuit  event = iota // Run is to end
	evKick               // look what is asked
	evTurn               // it may start
	evEnded              // the program has ended
	evMet                // conditions of being ready are
	evTimer
)

// wait waits for the next event. Of those that have happened, the end of Run is told
// first, so that a hand-over is prompt.
func (c *child) wait(timer <-chan time.Time, turn <-chan struct{}) event {
	quit := c.quit
	if c.over {
		quit = nil
	}
	var ended, met <-chan struct{}
	if c.proc != nil {
		ended = c.proc.done
	}
	if c.watch != nil {
		met = c.watch.some
	}
	if quit != nil && !isOpen(quit) {
		c.over = true
		return evQuit
	}
	select {
	case <-quit:
		c.over = true
		return evQuit
	case <-c.kick:
		return evKick
	case <-turn:
		return evTurn
	case <-ended:
		return evEnded
	case <-met:
		return evMet
	case <-timer:
		return evTimer
	}
}

// wants returns what is asked, and whether the program is paused. Files say it: so it
// is not lost in an upgrade, whichever generation was asked.
func (c *child) wants() (asked request, paused bool) {
	if os.Remove(c.path+resumedFile) == nil {
		asked = resume
	}
	if os.Remove(c.path+triggeredFile) == nil {
		asked = trigger
	}
	return asked, c.isPaused()
}

func (c *child) isPaused() bool {
	_, err := os.Lstat(c.path + pausedFile)
	return err == nil
}

// Endings of the files that say what is asked. The first one stays until it is over,
// the others until they are heard.
const (
	pausedFile    = ".paused"
	resumedFile   = ".resumed"
	triggeredFile = ".triggered"
)

// look has the goroutine look at them.
func (c *child) look() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// update changes the record, also on disk.
func (c *child) update(change func(r *record)) error {
	err := c.note(change).save(c.path + ".json")
	if err != nil {
		c.log.Error("the record of a command cannot be written", "error", err)
	}
	return err
}

// note changes the record.
func (c *child) note(change func(r *record)) record {
	last := c.sink.last()
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.record)
	c.record.Change++
	c.record.Output = last
	return c.record
}

// enter is update for a new state.
func (c *child) enter(state string, change func(r *record)) error {
	return c.update(func(r *record) {
		r.State, r.Since, r.Due = state, time.Now(), time.Time{}
		if change != nil {
			change(r)
		}
	})
}

// await waits for its turn to start.
func (c *child) await() step {
	c.enter(Waiting, nil)
	for {
		if _, paused := c.wants(); paused {
			return c.pause
		}
		switch c.wait(nil, c.turn) {
		case evQuit:
			return nil
		case evTurn:
			return c.start
		}
	}
}

// pause waits until it is resumed.
func (c *child) pause() step {
	c.log.Info("command paused")
	c.enter(Paused, func(r *record) { r.history = history{} })
	c.settle()
	for {
		if _, paused := c.wants(); !paused {
			return c.start
		}
		if c.wait(nil, nil) == evQuit {
			return nil
		}
	}
}

// rest is for a program that is not to be started again: it is done, or given up.
func (c *child) rest() step {
	c.settle()
	for {
		switch asked, paused := c.wants(); {
		case paused:
			return c.pause
		case asked == trigger, asked == resume && c.state() == Failed:
			c.update(func(r *record) { r.history = history{} })
			return c.start
		}
		if c.wait(nil, nil) == evQuit {
			return nil
		}
	}
}

func (c *child) state() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.record.State
}

// retry waits for the next start.
func (c *child) retry(due time.Time) step {
	c.settle()
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	for {
		switch asked, paused := c.wants(); {
		case paused:
			return c.pause
		case asked == trigger:
			c.update(func(r *record) { r.history = history{} })
			return c.start
		}
		switch c.wait(timer.C, nil) {
		case evQuit:
			return nil
		case evTimer:
			return c.start
		}
	}
}

// start starts the program.
func (c *child) start() step {
	if _, paused := c.wants(); paused {
		return c.pause
	}
	if err := c.launch(); err != nil {
		c.log.Error("command not started", "error", err)
		c.update(func(r *record) { r.Error = err.Error() })
		return c.failed(0)
	}
	c.changed = false
	if isOpen(c.settled) { // from then on others look at it
		c.fresh = true
	}
	c.log.Info("command started", "pid", c.proc.pid)
	return c.starting
}

// starting waits until it is ready.
func (c *child) starting() step {
	timeout, stop := afterOrNever(c.spec.ReadyTimeout, c.record.StartedAt)
	defer stop()
	c.watchReady()
	for {
		if c.isReady() {
			return c.ready
		}
		if next := c.live(timeout, nil); next != nil {
			return next
		}
	}
}

// live waits for the next event of a program that is there. It returns nil if the
// program stays in its state.
func (c *child) live(timeout <-chan time.Time, turn <-chan struct{}) step {
	switch c.wait(timeout, turn) {
	case evQuit:
		return c.leave
	case evEnded:
		return c.ended
	case evTimer:
		return c.late
	case evTurn:
		c.log.Info("command is restarted: it has changed, or is to be at each upgrade", "pid", c.proc.pid)
		return c.stop(c.start)
	case evKick:
		return c.disturbed()
	}
	return nil
}

// afterOrNever is a timer that began then; d 0 means never.
func afterOrNever(d time.Duration, begin time.Time) (<-chan time.Time, func() bool) {
	if d <= 0 {
		return nil, func() bool { return true }
	}
	t := time.NewTimer(time.Until(begin.Add(d)))
	return t.C, t.Stop
}

func (c *child) ready() step {
	c.unwatch()
	c.log.Info("command ready", "pid", c.proc.pid)
	c.enter(Running, func(r *record) { r.Since, r.Error = r.StartedAt, "" })
	return c.running
}

// running waits for whatever ends it.
func (c *child) running() step {
	turn := c.turn
	if !c.changed {
		c.settle()
		turn = nil
	}
	for {
		if next := c.live(nil, turn); next != nil {
			return next
		}
	}
}

// disturbed returns nil if nothing is asked that a running program minds.
func (c *child) disturbed() step {
	switch asked, paused := c.wants(); {
	case paused:
		return c.stop(c.pause)
	case asked == trigger:
		c.update(func(r *record) { r.history = history{} })
		return c.stop(c.start)
	}
	return nil
}

// leave is the end of Run: the program goes on if there is a successor.
func (c *child) leave() step {
	if c.s.leaving {
		return nil
	}
	return c.stop(nil)
}

// late is for a program that was not ready in time.
func (c *child) late() step {
	text := fmt.Sprintf("not ready within %v: missing %s", c.spec.ReadyTimeout, strings.Join(c.missing(), ", "))
	c.log.Error("command not ready in time", "pid", c.proc.pid, "error", text)
	return c.stop(func() step {
		c.update(func(r *record) { r.Error = text })
		return c.failed(0)
	})
}

// newChild makes one that does nothing yet.
func newChild(s *Supervisor, spec Spec) *child {
	c := &child{
		s: s, spec: spec, path: s.path(spec.Name), log: s.log.With("command", spec.Name),
		turn: make(chan struct{}), settled: make(chan struct{}), quit: make(chan struct{}),
		told: make(chan struct{}), kick: make(chan struct{}, 1),
	}
	c.record = record{Name: spec.Name, State: Waiting}
	c.sink = &sink{log: c.log}
	if spec.ReadyLine != "" {
		c.line, _ = regexp.Compile(spec.ReadyLine) // it was checked
	}
	for i := range c.streams {
		c.streams[i].path = c.path + "." + streamNames[i]
		c.streams[i].emit = c.sink.stream(i)
	}
	return c
}
