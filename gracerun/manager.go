package gracerun

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gracerun/grace/gracerun/internal/handoff"
	"github.com/gracerun/grace/gracerun/internal/systemd"
)

// beginHerald lets the first generation speak at once.
func (l *life) beginHerald() {
	l.herald = newHerald(l.manager, l.log)
	if !l.replaces() {
		l.herald.own()
		l.herald.extend() // a beat may be too late
	}
}

// beFollowed is called when the service works and the manager follows this process:
// the first one, one whose predecessor said so, or is dead. It reports whether that is
// new.
func (l *life) beFollowed() bool {
	if l.herald == nil || l.isFollowed() || l.hasHandedOver() {
		return false
	}
	l.mu.Lock()
	l.followed = true
	l.mu.Unlock()
	l.herald.own()
	l.herald.tell(notice{send: l.store})
	if l.manager.Watchdog > 0 {
		go l.keepWatchdog(l.manager.WatchdogInterval())
	}
	return true
}

// Periods of what the manager is told unasked.
const (
	beatPeriod   = time.Second
	calmBeats    = 5                // while nothing happens, one beat in so many
	extendPeriod = 10 * time.Second // must not end before the next calm beat
)

// beatForManager keeps the manager informed, until the life is over. All is said by the
// owner of the state: when that is stuck, no time-out of the manager is extended.
func (l *life) beatForManager() {
	ticker := time.NewTicker(beatPeriod)
	defer ticker.Stop()
	for beat := 0; ; beat++ {
		select {
		case <-ticker.C:
			l.post(occurrence{call: func() { l.tellManager(beat%calmBeats == 0) }})
		case <-l.done:
			return
		}
	}
}

// tellManager extends the manager's time-out for what is under way: it is ours that
// ends it, and says what was late.
func (l *life) tellManager(calm bool) {
	if !l.herald.owner() {
		return
	}
	if calm && l.state != StateReady {
		l.herald.extend()
	}
	if calm || l.state != StateReady {
		if text := l.managerStatus(); text != l.toldManager {
			l.toldManager = text
			l.herald.status(text)
		}
	}
}

// managerStatus is the line that `systemctl status` shows.
func (l *life) managerStatus() string {
	l.mu.Lock()
	state, stage, child, waits, deadline := l.state, l.stage, l.child, l.waitsFor, l.deadline
	failed := l.lastFailure()
	l.mu.Unlock()
	who := fmt.Sprintf("generation %d", l.self.Number())
	if l.version != "" {
		who += " (" + l.version + ")"
	}
	inHand := "in hand: " + describe(l.inHandNames())
	switch state {
	case StateStarting:
		return who + " starts: " + stage
	case StateUpgrading:
		if waits != nil {
			return fmt.Sprintf("%s serves; an upgrade waits for generation %d to end; %s", who, waits.Generation, inHand)
		}
		return fmt.Sprintf("%s serves; upgrading to generation %d: %s; %s", who, l.self.Number()+1, child.Stage, inHand)
	case StateDraining, StateDone:
		if !deadline.IsZero() {
			inHand += fmt.Sprintf("; until %s at the latest", deadline.Format(time.TimeOnly))
		}
		return who + " stops; " + inHand
	}
	if failed != "" { // first: systemctl cuts a long line
		return failed + "; " + who + " serves on; " + inHand
	}
	return who + " serves; " + inHand
}

// lastFailure is what was asked for last, in vain, or "". The caller holds mu.
func (l *life) lastFailure() string {
	var upgrade UpgradeResult
	if n := len(l.history); n > 0 {
		upgrade = l.history[n-1]
	}
	switch {
	case l.reloadError != "" && !l.reloadFailed.Before(upgrade.At):
		return fmt.Sprintf("the reload at %s failed: %s", l.reloadFailed.Format(time.TimeOnly), l.reloadError)
	case upgrade.Error != "":
		return fmt.Sprintf("the upgrade at %s failed at %s: %s", upgrade.At.Format(time.TimeOnly), upgrade.Stage, upgrade.Error)
	}
	return ""
}

// keepWatchdog sends the signs of life, as long as the owner of the state and Health
// answer, and this process is followed. A drain is no fault: both answer in it, however
// long it takes.
func (l *life) keepWatchdog(interval time.Duration) {
	for ill := false; ; {
		ctx, cancel := withPatience(context.Background(), interval/2)
		err := l.healthy(ctx)
		cancel()
		if err == nil {
			sent := make(chan error, 1) // one at a time: a manager that does not read is to find no more
			l.herald.tell(notice{send: (*systemd.Notifier).Watchdog, sent: sent})
			select {
			case <-sent:
			case <-l.done:
				return
			}
			if ill {
				l.herald.status(l.managerStatus())
			}
		} else {
			if !ill {
				l.log.Error("not well: the service manager gets no sign of life for its watchdog", "error", err)
			}
			l.herald.status("no sign of life for the watchdog: " + err.Error())
		}
		ill = err != nil
		pause := interval
		if ill { // who is well again in time is not to end
			pause = interval / 4
		}
		select {
		case <-time.After(pause):
		case <-l.done:
			return
		}
		if l.hasHandedOver() {
			return
		}
	}
}

// errNotAdopted keeps systemd from a main process with which it would have no patience,
// see [systemd.Adopted]: the process between the two generations has not ended yet.
var errNotAdopted = errors.New("the successor is not the manager's child yet")

// giveManagerOver is the end of an upgrade for the manager.
func (l *life) giveManagerOver() {
	if l.herald == nil {
		return
	}
	err := l.handManagerOver()
	if err == nil {
		return
	}
	l.log.Warn("the service manager still follows this process, which ends after its successor", "error", err)
	l.herald.ready(l.managerStatus())
}

// handManagerOver has the manager follow the successor, which is told so. After an error
// this process is still followed.
func (l *life) handManagerOver() error {
	s := l.self.Successor()
	pid := s.PID
	switch {
	case l.anchored:
		pid = 0
	case !systemd.Adopted(pid):
		return errNotAdopted
	}
	if err := l.herald.handOver(pid, fmt.Sprintf("generation %d (%s) serves", s.Generation, s.Version)); err != nil {
		return err
	}
	if pid != 0 && !s.Alive() {
		return errors.New("the successor is dead")
	}
	s.Main() // at once: a busy manager, too, is to find its signs of life
	if err := l.herald.read(); err != nil {
		l.log.Warn("the service manager is busy", "error", err)
	}
	l.mu.Lock()
	l.followed, l.followedUntil, l.handedOver = false, time.Now(), true
	l.mu.Unlock()
	return nil
}

// outliveSuccessor is for a process that could not hand the manager over: its exit would
// be the end of the service. It tries again to be rid of that.
func (l *life) outliveSuccessor() {
	for l.herald != nil && !l.anchored && !l.hasHandedOver() {
		select {
		case <-l.self.Successor().Done():
			return
		case <-time.After(time.Second):
			if !l.herald.isStopping() {
				l.handManagerOver()
			}
		}
	}
}

// isOutlived reports whether the manager follows an older generation. The word that it
// follows this one may be on its way.
func (l *life) isOutlived() bool {
	if l.herald == nil || l.anchored {
		return false
	}
	select {
	case <-l.herald.owns:
		return false
	case <-time.After(signalDelay):
		return true
	}
}

func (l *life) hasHandedOver() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.handedOver
}

// isFollowed reports whether this is the process that the service manager follows.
func (l *life) isFollowed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.followed
}

// signalDelay is how long a signal to the main process may be under way after
// another has become that.
const signalDelay = time.Second

// meantForSuccessor reports whether a request to stop reached this process because it
// was, or is, the one that is followed from outside.
func (l *life) meantForSuccessor() bool {
	s := l.self.Successor()
	if s == nil || !s.Alive() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.anchored || l.followed || time.Since(l.followedUntil) < signalDelay
}

// hearMain is the predecessor's word that the manager follows this process.
func (l *life) hearMain(ev any) {
	switch ev := ev.(type) {
	case handoff.Main:
		if ev.Generation == l.self.Number() {
			l.beFollowed()
			return
		}
		for _, p := range l.self.Older() { // it took this one over before it had heard of it
			if p.Generation == ev.Generation {
				p.Main()
			}
		}
	case handoff.Exited: // maybe without a word
		if ev.Peer.Generation == l.self.Number()-1 && l.beFollowed() && l.state == StateReady {
			l.herald.ready(l.managerStatus()) // it may have died in what it had called a reload
		}
	}
}
