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
	if l.self.Legacy() == nil || l.orphan {
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
	l.self.Commit()
	if err := l.sockets.CloseUnused(); err != nil {
		l.log.Error("closing dropped sockets", "error", err)
	}
	if l.pid != nil {
		if err := l.pid.WritePID(); err != nil {
			l.log.Error("the pid file does not name this process", "error", err)
		}
	}
	for _, t := range l.work.tasks {
		go t.run(l, t)
	}
	now := time.Now()
	took := now.Sub(l.since)
	if legacy := l.self.Legacy(); legacy != nil {
		took = now.Sub(legacy.Asked)
		l.mu.Lock()
		l.lastUpgrade = UpgradeResult{From: legacy.From, To: l.self.Number(), PID: os.Getpid(), Took: took, At: now}
		l.mu.Unlock()
	}
	l.log.Info("ready", "pid", os.Getpid(), "version", l.version, "took", took, "listening", l.listening(), "pid_file", l.pidFile())
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
