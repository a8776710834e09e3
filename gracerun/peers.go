package gracerun

import (
	"time"

	"github.com/gracerun/grace/gracerun/internal/handoff"
)

const askedByOther = "another generation asked for it"

// hear turns what other generations say and do into events.
func (l *life) hear(ev any) {
	l.hearMain(ev)
	switch ev := ev.(type) {
	case handoff.Go:
		if ev.Orphan {
			l.log.Warn("the predecessor is dead: this generation carries on")
		}
		if !l.announced {
			l.orphan = true // commit as soon as it serves
			return
		}
		l.handle(occurrence{event: evGo})
	case handoff.Abort:
		why := "the predecessor gave the upgrade up: "
		if !l.replaces() {
			why = "the launcher gave the start up: "
		}
		l.handle(occurrence{event: evStop, why: why + ev.Reason})
	case handoff.Exited:
		if s := l.self.Successor(); s == ev.Peer {
			if !ev.Leaving {
				l.log.Error("the successor is dead", "pid", ev.Peer.PID)
			}
			l.refuseForwarded()
			return
		}
		l.log.Info("an older generation is done", "older", ev.Peer.Generation, "pid", ev.Peer.PID)
		l.mu.Lock()
		delete(l.said, ev.Peer)
		l.mu.Unlock()
		l.touch()
		l.wakeTasks("")
	case handoff.Released:
		if s := l.self.Successor(); s != nil { // it is the newest that waits for it
			s.Released(ev.Name, ev.Due)
		}
		l.wakeTasks(ev.Name)
	case handoff.Hurry:
		l.tellInHand(ev.From)
	case handoff.InHand:
		l.hearInHand(ev)
	case handoff.Stop:
		if l.state == StateDraining {
			l.log.Info("the service stops: this generation is to be done, too", "within", ev.Within)
			l.leave(occurrence{why: askedByOther})
			if l.isFollowed() {
				l.herald.stop("stopping: " + askedByOther)
			}
		} else {
			limit := l.app.stopLimit()
			hurry := ev.Within > 0 && (limit == 0 || ev.Within < limit)
			l.handle(occurrence{event: evStop, why: askedByOther, now: hurry})
		}
		if ev.Within > 0 {
			time.AfterFunc(ev.Within, func() { l.post(occurrence{event: evDeadline}) })
		}
	case handoff.Unanchored:
		if l.state != StateDraining {
			l.handle(occurrence{event: evStop, why: "the process that kept the pid is dead", now: true}) // a new service may wait for the lock
		}
	case handoff.Upgrade:
		what := evUpgrade
		if ev.Reload && l.app.Reload != nil {
			what = evReload
		}
		l.handle(occurrence{event: what, request: &request{at: time.Now(), from: ev.From, its: ev.ID, reload: what == evReload}})
	case handoff.Upgraded:
		l.forwardedUpgrade(ev)
	case handoff.Reopen:
		l.reopenBeside(l.reopen)
	}
}

// hearInHand keeps what an older generation says that it has in hand, and logs
// it if an upgrade waits for it.
func (l *life) hearInHand(ev handoff.InHand) {
	work := each(ev.Work, func(w handoff.Work) InHand { return InHand(w) })
	l.mu.Lock()
	l.said[ev.From] = report{work, ev.Until}
	waits := l.waitsFor == ev.From
	if waits {
		l.waitsFor = nil // said once
	}
	l.mu.Unlock()
	if waits {
		l.log.Warn("waiting for an older generation", "older", ev.From.Generation, "pid", ev.From.PID, "in_hand", describe(names(work)))
	}
}
