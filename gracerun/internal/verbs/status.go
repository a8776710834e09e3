package verbs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gracerun/grace/gracerun/internal/control"
	"github.com/gracerun/grace/pidfile"
)

// The exit statuses of status: those of LSB, and our own from 150 on.
const (
	statusDead      = 1 // there is a pid file
	statusUnnamed   = 2 // the lock is held, and nobody says that he is the service
	statusStopped   = 3
	statusUnknown   = 4
	statusUpgrading = 150
	statusDraining  = 151
	statusStarting  = 152
)

// maxOutput is how much is shown of a line that a command has printed.
const maxOutput = 200

func status(c *call, ctx context.Context, _ []string) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	c.known = c.probe(ctx)
	c.print(c.describe(c.known, time.Now()))
	code := c.statusCode(c.known)
	if c.options.ready {
		code = readyCode(code)
	}
	if code != 0 {
		return &exit{code: code}
	}
	return nil
}

// readyCode is the status for who only asks whether new work is taken.
func readyCode(code int) int {
	switch code {
	case 0, statusUpgrading:
		return 0
	}
	return exitFailed
}

func (s *Service) statusCode(k *known) int {
	locked := new(pidfile.LockedError)
	switch {
	case k.status != nil:
		return stateCode(k.status.State)
	case k.lock != nil:
		return statusUnknown
	case k.starting:
		return statusStarting
	case k.pid != 0:
		return 0
	case k.held && (len(k.holders) > 0 || errors.As(k.pidFile, &locked)):
		return statusUnnamed
	case k.held:
		return statusUnknown
	case !missing(s.PIDFile):
		return statusDead
	}
	return statusStopped
}

func stateCode(state string) int {
	switch state {
	case "starting":
		return statusStarting
	case "upgrading":
		return statusUpgrading
	case "draining", "done":
		return statusDraining
	}
	return 0
}

// describe is the status for people.
func (s *Service) describe(k *known, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", s.Name, s.headline(k, now))
	row := func(name, text string) { fmt.Fprintf(&b, "  %-13s %s\n", name, text) }
	if k.status != nil {
		details(*k.status, now, row)
	}
	for _, w := range append(s.warnings(k), s.idle(k)...) {
		row("warning", w)
	}
	return b.String()
}

func (s *Service) headline(k *known, now time.Time) string {
	switch {
	case k.status != nil:
		return headline(*k.status, now)
	case k.lock != nil:
		return "unknown: " + k.lock.Error()
	case !k.held && missing(s.PIDFile):
		return "not running"
	case !k.held:
		return fmt.Sprintf("not running, but the pid file %s was left: it did not end well", s.PIDFile)
	case k.starting:
		return fmt.Sprintf("starting (%s)", k.who())
	case k.pid == 0 && len(k.holders) == 0:
		return fmt.Sprintf("unknown: somebody holds %s, and who cannot be told; its user and root see more", pidfile.LockPath(s.PIDFile))
	case k.pid == 0:
		return fmt.Sprintf("unknown: the lock is held (%s), and nobody answers: it may be starting, or finish what it has in hand", k.who())
	}
	return fmt.Sprintf("running (%s)", k.who())
}

func headline(st control.Status, now time.Time) string {
	state := st.State
	if state == "ready" {
		state = "running"
	}
	text := fmt.Sprintf("%s (pid %d), generation %d", state, st.PID, st.Generation)
	if st.Version != "" {
		text += ", version " + st.Version
	}
	if !st.StartedAt.IsZero() {
		text += ", up " + short(now.Sub(st.StartedAt))
	}
	if st.TakesUntil.After(now) {
		text += ", stops taking in " + short(st.TakesUntil.Sub(now).Round(time.Second))
	}
	if !st.Deadline.IsZero() {
		text += ", " + left(st.Deadline, now)
	}
	return text
}

func left(deadline, now time.Time) string {
	return short(max(0, deadline.Sub(now).Round(time.Second))) + " left"
}

func details(st control.Status, now time.Time, row func(name, text string)) {
	if len(st.Sockets) > 0 {
		row("listening", addresses(st.Sockets))
	}
	for _, w := range st.InFlight {
		row("in hand", workLine(w, now))
	}
	for _, g := range st.Generations {
		if g.PID == st.PID {
			continue
		}
		text := fmt.Sprintf("generation %d (pid %d", g.Number, g.PID)
		if g.Version != "" {
			text += ", version " + g.Version
		}
		text = withWork(text+")", g.InFlight)
		if !g.Deadline.IsZero() {
			text += ", " + left(g.Deadline, now)
		}
		row(g.State, text)
	}
	if u := st.LastUpgrade; u != nil {
		row("last upgrade", upgradeLine(*u, now))
	}
	for _, c := range st.Commands {
		row("command", commandLine(c, now))
		for _, line := range c.Output[max(0, len(c.Output)-3):] {
			row("", "  "+cutTo(inLine(line), maxOutput))
		}
	}
}

func workLine(w control.Work, now time.Time) string {
	text := inHand([]control.Work{w})
	if !w.Since.IsZero() {
		text += fmt.Sprintf(", the oldest for %s", short(now.Sub(w.Since)))
	}
	return text
}

// upgradeLine is one line, though the reason of a failure may have more.
func upgradeLine(u control.Upgrade, now time.Time) string {
	ago := short(now.Sub(u.At)) + " ago"
	if u.OK {
		return fmt.Sprintf("%s, generation %d to %d in %s", ago, u.From, u.To, seconds(u.Took))
	}
	return fmt.Sprintf("%s, failed at %s: %s", ago, u.Stage, firstLine(u.Error))
}

func firstLine(text string) string {
	line, _, more := strings.Cut(strings.TrimSpace(text), "\n")
	if more {
		line += " ..."
	}
	return line
}

func commandLine(c control.Command, now time.Time) string {
	text := c.Name + ": " + c.State
	if c.PID != 0 {
		text += fmt.Sprintf(" (pid %d)", c.PID)
	}
	if !c.Since.IsZero() {
		text += " for " + short(max(0, now.Sub(c.Since)))
	}
	if !c.Due.IsZero() {
		text += ", starts " + due(c.Due, now)
	}
	switch {
	case c.Restarts == 1:
		text += ", restarted once"
	case c.Restarts > 1:
		text += fmt.Sprintf(", restarted %d times", c.Restarts)
	}
	if c.LastExit != "" {
		text += ", last exit: " + c.LastExit
	}
	if c.Error != "" {
		text += ", error: " + firstLine(c.Error)
	}
	return inLine(text)
}

// due is a time to come, for people.
func due(at, now time.Time) string {
	if !at.After(now) {
		return "now"
	}
	return "in " + short(at.Sub(now))
}
