package gracerun

import (
	"os"
	"strings"
	"time"

	"github.com/gracerun/grace/gracerun/internal/handoff"
)

// announce says that this generation serves; without a predecessor the service
// is its own at once.
func (l *life) announce() {
	l.announced = true
	if l.self.Legacy() == nil || l.orphan { // the launcher of a daemon is told, too
		l.handle(occurrence{event: evGo})
		return
	}
	l.self.Serving(l.version)
	l.mu.Lock()
	l.stage = handoff.StageProbation
	l.mu.Unlock()
}

// own makes this generation the owner of the service. From here on nothing can
// refuse.
func (l *life) own() {
	l.owner = true
	if l.replaces() {
		l.self.Commit(l.writePID) // until now the pid file is the predecessor's
	} else {
		l.writePID()
	}
	l.ownLogs()
	l.ownSockets()
	now := time.Now()
	took := now.Sub(l.since)
	if legacy := l.self.Legacy(); legacy != nil {
		took = now.Sub(legacy.Asked)
	}
	if l.replaces() {
		l.mu.Lock()
		l.record(UpgradeResult{From: l.self.Legacy().From, To: l.self.Number(), PID: os.Getpid(), Took: took, At: now})
		l.mu.Unlock()
	}
	l.log.Info("ready", "pid", os.Getpid(), "version", l.version, "took", took, "listening", l.listening(), "pid_file", l.pidFile())
}

func (l *life) writePID() {
	if l.pid == nil {
		return
	}
	if err := l.pid.WritePID(); err != nil {
		l.log.Error("the pid file does not name this process", "error", err)
	}
}

// beginOwning is what has to wait until the state says ready: tasks may ask, and to
// whom the launcher of a daemon tells that it runs, everything else says so, too.
func (l *life) beginOwning() {
	for _, t := range l.work.tasks {
		t.begin(l)
	}
	if l.replaces() {
		l.socket().serve(l.service(), l.log)
	} else {
		l.self.Commit(func() {}) // the launcher hears of it last
		l.beFollowed()
		l.herald.ready(l.managerStatus()) // HUP is caught: newer managers look before they send one
	}
	l.nextUpgrade() // a HUP that came early
}

// listening says where, for people.
func (l *life) listening() string {
	var list []string
	for _, s := range l.sockets.Sockets() {
		list = append(list, s.Network+" "+s.Bound)
	}
	return strings.Join(list, ", ")
}

func (l *life) pidFile() string {
	if l.pid == nil {
		return ""
	}
	return l.pid.Path()
}
