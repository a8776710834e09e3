package gracerun

import (
	"errors"
	"time"
)

// What a load balancer sends must be answered until it has noticed that this
// process is not ready any more. So a service that is told to stop says first that
// it is not, goes on as before for App.StopDelay, and drains then. The state is
// StateDraining from the beginning: nothing but the drain can come.

// stopLimit is how long a stop takes at most: the delay, and the drain; 0 is no
// limit.
func (a *App) stopLimit() time.Duration {
	drain := a.drainLimit()
	if drain == 0 {
		return 0
	}
	return a.delayLimit() + drain
}

// beginDelay keeps o, which stops the service, for later.
func (l *life) beginDelay(o occurrence) {
	l.delayed = &o
	takesUntil := time.Now().Add(l.stopDelay)
	l.mu.Lock()
	l.takesEnd = takesUntil
	if l.drainTimeout > 0 {
		l.deadline = takesUntil.Add(l.drainTimeout)
	}
	l.mu.Unlock()
	l.touch()
	l.log.Info("stopping: not ready any more, serving on for a while", "why", o.why, "for", l.stopDelay)
	for _, p := range l.self.Older() { // who still asks one of these is to know, too
		p.Stop(l.app.stopLimit())
	}
	time.AfterFunc(l.stopDelay, func() {
		l.post(occurrence{call: func() {
			if l.delayed != nil {
				l.endDelay(*l.delayed)
			}
		}})
	})
}

// endDelay begins the drain, by reason of o.
func (l *life) endDelay(o occurrence) {
	l.delayed = nil
	l.mu.Lock()
	l.takesEnd = time.Time{}
	l.mu.Unlock()
	l.drainNow(o)
	l.touch()
}

// stopAgain is for who is told to stop, and does already. What the anchor has told the
// predecessor in its last moment comes twice: from both.
func (l *life) stopAgain(o occurrence) {
	switch {
	case l.anchored && time.Since(l.leftAt) < signalDelay:
	case l.delayed != nil:
		l.log.Info("stopping now: told again", "why", o.why)
		l.endDelay(*l.delayed)
	case l.meantForSuccessor():
		l.log.Info("the service stops: the successor is told", "why", o.why)
		if l.isFollowed() {
			l.herald.stop("stopping: " + o.why)
		}
		l.self.Successor().Stop(l.app.stopLimit())
	default:
		l.log.Warn("not stopping: this generation drains already", "why", o.why)
	}
}

// failInDrain is for what fails when the end has begun anyway; in the delay it is
// the end.
func (l *life) failInDrain(o occurrence) {
	if l.delayed == nil {
		l.log.Error("failed in the drain", "error", o.err)
		return
	}
	l.endDelay(o)
}

// leave notes that the service takes no new work. It comes before the state says so.
func (l *life) leave(o occurrence) {
	why := o.why
	if o.err != nil {
		why = o.err.Error()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leaving == nil {
		l.leaving, l.leftAt = errors.New("stopping: "+why), time.Now()
	}
}
