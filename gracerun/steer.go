package gracerun

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// Pause has the task called name begin no run, and take no item, until [App.Resume].
// What it has in hand it finishes; what it waits with, see [UntilDrain], ends with
// the cause [ErrPaused]. A command is stopped. The pause lasts over upgrades,
// crashes and stops: a file in the run directory remembers it. The error wraps
// fs.ErrNotExist if there is no such task, and errors.ErrUnsupported for one of
// App.Go. Before the App is ready it is [ErrNotReady], in a drain [ErrDraining]:
// the successor is to be asked.
func (a *App) Pause(name string) error { return a.steer(name, (*life).pause) }

// Resume ends what [App.Pause] began: of the times of an Every or a Cron that passed
// meanwhile, one is made up for at once. A command that was given up gets one more
// chance. The errors are those of Pause.
func (a *App) Resume(name string) error { return a.steer(name, (*life).resume) }

// Trigger has the task run now: an Every or a Cron once, at its times as before
// after that, and even while it is paused; a run that is going on is followed by
// one more. Of a Loop or a Work that waits after an error it ends the wait. A
// command is restarted. The errors are those of [App.Pause].
func (a *App) Trigger(name string) error { return a.steer(name, (*life).trigger) }

func (a *App) steer(name string, do func(*life, string, *task) error) error {
	l := a.running()
	if l == nil {
		return ErrNotReady
	}
	err := l.steer(name, do)
	if err == nil || errors.Is(err, ErrNotReady) || errors.Is(err, ErrDraining) {
		return err
	}
	return fmt.Errorf("gracerun: %w", err)
}

// steer does what is asked of a task or a command.
func (l *life) steer(name string, do func(*life, string, *task) error) error {
	switch state := l.currentState(); {
	case state == StateStarting:
		return ErrNotReady
	case state >= StateDraining:
		return ErrDraining
	}
	t := l.work.task(name)
	switch {
	case t == nil && !l.hasCommand(name):
		return l.work.noTask(name)
	case t != nil && t.kind == kindGo:
		return fmt.Errorf("%q is a task of App.Go, which only it can steer: %w", name, errors.ErrUnsupported)
	}
	if err := do(l, name, t); err != nil {
		return err
	}
	if t != nil {
		t.reread(l)
	}
	l.touch()
	if s := l.self.Successor(); s != nil { // it may have looked before
		s.Released(name, time.Time{})
	}
	return nil
}

func (l *life) currentState() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

func (l *life) pause(name string, t *task) error {
	if t == nil {
		return l.supervisor().Pause(name)
	}
	if err := l.mark(t, pausedFile); err != nil {
		return err
	}
	l.log.Info("task paused", "task", name)
	return nil
}

func (l *life) resume(name string, t *task) error {
	if t == nil {
		return l.supervisor().Resume(name)
	}
	if err := os.Remove(l.taskFile(name, pausedFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l.log.Info("task resumed", "task", name)
	return nil
}

func (l *life) trigger(name string, t *task) error {
	if t == nil {
		return l.supervisor().Trigger(name)
	}
	if t.plan.ok() {
		if err := l.mark(t, triggeredFile); err != nil {
			return err
		}
	} else if l.exists(t, pausedFile) {
		return fmt.Errorf("%q is paused: resume it", name)
	}
	l.log.Info("task triggered", "task", name)
	return nil
}

func (l *life) mark(t *task, suffix string) error {
	return os.WriteFile(l.taskFile(t.name, suffix), nil, 0o600)
}

// noTask is the error for a name that neither a task nor a command has.
func (r *registry) noTask(name string) error {
	var names []string
	for _, t := range r.tasks {
		if t.kind != kindCommands {
			names = append(names, t.name)
		}
	}
	for _, c := range r.commands {
		names = append(names, c.Name)
	}
	if len(names) == 0 {
		return fmt.Errorf("there is no task %q, and no other: %w", name, fs.ErrNotExist)
	}
	return fmt.Errorf("there is no task %q, only %s: %w", name, strings.Join(names, ", "), fs.ErrNotExist)
}

// The files that steer a task are there while it is paused, and until it has run
// for a trigger. They are the truth, in whichever process somebody waits for them to
// change, and messages only say "look". So nothing that was asked for is lost when
// the process that was asked is replaced, or killed; and a pause outlives them all:
// somebody had a reason.
const (
	pausedFile    = ".paused"
	triggeredFile = ".triggered"
)

func (l *life) exists(t *task, suffix string) bool {
	_, err := os.Lstat(l.taskFile(t.name, suffix))
	return err == nil
}

// reread looks at the files, in one piece: what somebody else saw a moment ago is not to
// be put over it.
func (t *task) reread(l *life) {
	t.set(func() {
		paused := t.kind != kindGo && l.exists(t, pausedFile)
		switch {
		case t.stop == nil || paused == t.paused: // it has not begun, or nothing changes
		case paused:
			t.stop(ErrPaused)
		default:
			t.taking, t.stop = context.WithCancelCause(l.end.take)
		}
		t.paused = paused
	})
}
