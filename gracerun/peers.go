package gracerun

import (
	"time"

	"github.com/gracerun/grace/gracerun/internal/handoff"
)

// hear turns what other generations say and do into events.
func (l *life) hear(ev any) {
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
		l.handle(occurrence{event: evStop, why: "the predecessor gave the upgrade up: " + ev.Reason})
	case handoff.Exited:
		if s := l.self.Successor(); s == ev.Peer {
			if !ev.Leaving {
				l.log.Error("the successor is dead", "pid", ev.Peer.PID)
			}
			l.refuseForwarded()
			return
		}
		l.log.Info("an older generation is done", "older", ev.Peer.Generation, "pid", ev.Peer.PID)
		l.wakeTasks("", time.Time{})
	case handoff.Released:
		if s := l.self.Successor(); s != nil { // it is the newest that waits for it
			s.Released(ev.Name, ev.Due)
		}
		l.wakeTasks(ev.Name, ev.Due)
	case handoff.Hurry:
		ev.From.InHand(l.inHandNames())
	case handoff.InHand:
		l.log.Warn("waiting for an older generation", "older", ev.From.Generation, "pid", ev.From.PID, "in_hand", describe(ev.Names))
	case handoff.Stop:
		if l.state == StateDraining {
			l.log.Info("the service stops: this generation is to be done, too", "within", ev.Within)
		} else {
			l.handle(occurrence{event: evStop, why: "another generation asked for it"})
		}
		if ev.Within > 0 {
			time.AfterFunc(ev.Within, func() { l.post(occurrence{event: evDeadline}) })
		}
	case handoff.Upgrade:
		l.handle(occurrence{event: evUpgrade, request: &request{at: time.Now(), from: ev.From, its: ev.ID}})
	case handoff.Upgraded:
		l.forwardedUpgrade(ev)
	}
}
