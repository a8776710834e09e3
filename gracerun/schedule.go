package gracerun

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"strings"
	"time"

	"github.com/netresearch/go-cron"
)

// A plan says when a task is due. The zero plan is none.
type plan struct {
	text  string // for people, and to tell one from another
	first func(now time.Time) time.Time
	// next is the due time after a run that was due, and began later.
	next func(due, began time.Time) time.Time
}

func (p plan) ok() bool { return p.next != nil }

// Every runs f once in d, the first time after d, in one generation at a
// time; neither an upgrade nor a crash moves the times. The context lasts through
// the drain. Runs do not overlap: of ticks that were missed one is made up for. An
// error is logged. d must be positive.
func (a *App) Every(name string, d time.Duration, f func(context.Context) error) {
	a.addPlanned(period(d), "Every", name, f != nil && d > 0, "the function is nil, or the duration is not positive", scheduled(f))
}

func period(d time.Duration) plan {
	return plan{
		text:  d.String(),
		first: func(now time.Time) time.Time { return now.Add(d) },
		next:  func(due, began time.Time) time.Time { return afterMissed(due, began, d) },
	}
}

// afterMissed is the first of due, due+d, due+2d ... after began, however long ago due was.
func afterMissed(due, began time.Time, d time.Duration) time.Time {
	if late := began.Sub(due); late > 0 {
		return began.Add(d - late%d)
	}
	return due.Add(d)
}

// Cron runs f at the times that spec says, in one generation at a time, like
// [App.Every]: of those that were missed, because a run took so long, or because
// the service had crashed, one is made up for; but none of those while it was
// stopped.
//
// spec is as in crontab(5): minute, hour, day of month, month, day of week (where
// both days are restricted, either will do), or @hourly, @daily, @weekly, @monthly,
// @yearly. The times are those of the local zone, or of the one named before it:
// "CRON_TZ=Europe/Berlin 30 2 * * *". For a time that the change to summer time
// skips, it runs at the same distance after the change; a time that comes twice
// counts once, unless the hour is *.
func (a *App) Cron(name, spec string, f func(context.Context) error) {
	p, err := crontab(spec)
	why := "the function is nil"
	if err != nil {
		why = fmt.Sprintf("the schedule %q: %v", spec, err)
	}
	a.addPlanned(p, "Cron", name, f != nil && err == nil, why, scheduled(f))
}

// crontabFields are those of crontab(5): where both days are restricted, either will do.
const crontabFields = cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor | cron.DowOrDom

func crontab(spec string) (plan, error) {
	s, err := cron.MustNewParser(crontabFields).Parse(spec)
	if err != nil {
		return plan{}, err
	}
	times, ok := s.(*cron.SpecSchedule)
	switch {
	case !ok:
		return plan{}, errors.New("a period is no time of day: use Every")
	case s.Next(time.Now()).IsZero():
		return plan{}, errors.New("it never comes")
	}
	next := func(t time.Time) time.Time {
		n := s.Next(t)
		for comesAgain(times, n) {
			n = s.Next(n)
		}
		return skipped(times, t, n)
	}
	return plan{text: spec, first: next, next: func(_, began time.Time) time.Time { return next(began) }}, nil
}

// skipped returns the first time between t and n that the change to summer time skips,
// as the same distance after the change; n if there is none. The library knows that of
// the changes by an hour that are not at midnight.
func skipped(s *cron.SpecSchedule, t, n time.Time) time.Time {
	if n.IsZero() || anyHour(s) {
		return n
	}
	wall := *s
	wall.Location = time.UTC
	for t = t.In(zoneOf(s)); ; {
		_, change := t.ZoneBounds()
		if change.IsZero() || !change.Before(n) {
			return n
		}
		_, before := change.Add(-time.Second).Zone()
		_, after := change.Zone()
		from := change.UTC().Add(time.Duration(before) * time.Second) // as the clock has shown it
		missed := wall.Next(from.Add(-time.Second)).Sub(from)
		if again := change.Add(missed); missed < time.Duration(after-before)*time.Second && again.Before(n) {
			return again
		}
		t = change
	}
}

// comesAgain reports whether the clock shows at t what it has shown before, at the
// end of summer time, and the task was due then.
func comesAgain(s *cron.SpecSchedule, t time.Time) bool {
	if t.IsZero() || anyHour(s) {
		return false
	}
	zone := zoneOf(s)
	const longest = 3 * time.Hour // that a clock was ever set back by
	_, now := t.In(zone).Zone()
	_, before := t.Add(-longest).In(zone).Zone()
	if before <= now {
		return false
	}
	_, then := t.Add(-time.Duration(before-now) * time.Second).In(zone).Zone()
	return then == before
}

func anyHour(s *cron.SpecSchedule) bool {
	const all = 1<<24 - 1
	return bits.OnesCount64(s.Hour&all) == 24
}

func zoneOf(s *cron.SpecSchedule) *time.Location {
	if s.Location == nil {
		return time.Local
	}
	return s.Location
}

// scheduled is the life of an Every or a Cron.
func scheduled(f func(context.Context) error) func(*life, *task) {
	return func(l *life, t *task) {
		l.exclusive(t, func(j *job) {
			t.setDue(l.firstDue(t))
			l.keepDue(t)
			for taking := l.awaitDue(t); taking != nil; taking = l.awaitDue(t) {
				began := time.Now()
				l.run(j, t, taking, f)
				if due := t.nextDue(); !due.After(began) { // else it was for a trigger
					t.setDue(t.plan.next(due, began))
				}
				l.keepDue(t)
			}
		})
	}
}

// awaitDue waits for the time of the next run, or a trigger. It returns the context for
// that run to wait with, nil when the drain has begun.
func (l *life) awaitDue(t *task) context.Context {
	for l.end.take.Err() == nil {
		taking, due, changed := t.turn(l)
		if l.takeTrigger(t) || !time.Now().Before(due) {
			return taking
		}
		// The clock may be set, and the machine sleep: timers see neither.
		timer := time.NewTimer(min(time.Until(due), clockPeriod))
		select {
		case <-timer.C:
		case <-changed:
		case <-l.end.take.Done():
		}
		timer.Stop()
	}
	return nil
}

const clockPeriod = time.Minute

// turn says when the task is to run, if nothing changes.
func (t *task) turn(l *life) (taking context.Context, due time.Time, changed <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.paused { // whoever triggers it now does not mean the pause
		return l.end.take, time.Now().Add(clockPeriod), t.changed
	}
	return t.taking, t.due, t.changed
}

// takeTrigger reports whether somebody asked for a run, right before it.
func (l *life) takeTrigger(t *task) bool {
	return l.exists(t, triggeredFile) && os.Remove(l.taskFile(t.name, triggeredFile)) == nil
}

func (t *task) setDue(due time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.due = due
}

func (t *task) nextDue() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.due
}

// firstDue is when the next run is due after those of older generations, also of
// one that was killed in the middle of it.
func (l *life) firstDue(t *task) time.Time {
	first := t.plan.first(time.Now())
	kept, err := readDue(l.dueFile(t), t.plan.text)
	switch {
	case err == nil && kept.Before(first):
		return kept
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		l.log.Warn("when the task was due before is not known", "task", t.name, "error", err)
	}
	return first
}

func (l *life) dueFile(t *task) string { return l.taskFile(t.name, ".due") }

// keepDue writes it down for whoever has the claim next.
func (l *life) keepDue(t *task) {
	if l.pid == nil {
		return
	}
	path := l.dueFile(t)
	text := t.nextDue().Format(time.RFC3339Nano) + " " + t.plan.text + "\n"
	err := os.WriteFile(path+".new", []byte(text), 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		l.log.Warn("the next run is not written down: a crash would move it", "task", t.name, "error", err)
	}
}

// readDue ignores the times of another plan.
func readDue(path, plan string) (time.Time, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return time.Time{}, err
	}
	when, of, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	if of != plan {
		return time.Time{}, fs.ErrNotExist
	}
	return time.Parse(time.RFC3339Nano, when)
}

// forgetDue is for an orderly stop: times that pass while the service is not to run
// are not missed.
func (l *life) forgetDue() {
	for _, t := range l.work.tasks {
		if t.plan.ok() && l.pid != nil {
			os.Remove(l.dueFile(t))
			os.Remove(l.taskFile(t.name, triggeredFile))
		}
	}
}
