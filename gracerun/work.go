package gracerun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gracerun/grace/pidfile"
)

// Go runs f once this generation owns the service. Its context ends with the
// start of the drain. nil means that f is done; an error, while there is no
// drain, ends the App and is what Run returns.
func (a *App) Go(name string, f func(context.Context) error) {
	a.addTask("Go", name, f != nil, "the function is nil", func(l *life, t *task) {
		j := l.jobs.begin(t.name, false)
		if j == nil {
			return
		}
		defer l.jobs.end(j)
		ctx, cancel := context.WithCancel(l.end.take)
		defer cancel()
		err := l.call(ctx, f)
		draining := ctx.Err() != nil
		if draining && isEndOfTaking(err) {
			err = nil
		}
		t.ran(j.since, err)
		t.set(func() { t.ended = true })
		l.logRun(t.name, err) // with the stack of a panic
		if err != nil && !draining {
			l.post(occurrence{event: evFault, err: fmt.Errorf("%s: %w", t.name, err)})
		}
	})
}

// Loop runs f again and again, in one generation at a time: the successor
// begins when the last run of the predecessor has ended. The context lasts
// through the drain; wait with [UntilDrain] of it. After an error, which is
// logged, the next run waits: 100 ms at first, twice as long each time, at most
// 30 s, and by chance up to half of that less.
func (a *App) Loop(name string, f func(context.Context) error) {
	a.addTask("Loop", name, f != nil, "the function is nil", func(l *life, t *task) {
		l.exclusive(t, func(j *job) {
			var pause backoff
			for taking := t.awaitTurn(l); taking != nil; taking = t.awaitTurn(l) {
				if err := l.run(j, t, taking, f); err != nil {
					t.retry(l, &pause)
				} else {
					pause = 0
				}
			}
		})
	})
}

// Work runs n workers (at least one) that take an item and do it. take waits
// for an item until the drain begins, or a pause, and its context ends then; an
// item that it returns is done even so. do has a context that lasts through the drain.
// io.EOF from take ends the worker. After another error of take, which is
// logged, the worker pauses: 100 ms at first, twice as long each time, at most
// 30 s, and by chance up to half of that less. An error of do is logged; with
// [Requeue] it has given the item back. Generations overlap: the old one finishes
// what it took while the new one takes.
func Work[T any](a *App, name string, n int, take func(context.Context) (T, error), do func(context.Context, T) error) {
	a.addTask("Work", name, take != nil && do != nil, "a function is nil", func(l *life, t *task) {
		var left atomic.Int64
		left.Store(int64(max(n, 1)))
		for range max(n, 1) {
			if j := l.jobs.begin(t.name, true); j != nil {
				go func() {
					defer l.jobs.end(j)
					worker(l, j, t, take, do)
					if left.Add(-1) == 0 {
						t.set(func() { t.ended = true })
					}
				}()
			}
		}
	})
}

func worker[T any](l *life, j *job, t *task, take func(context.Context) (T, error), do func(context.Context, T) error) {
	var pause backoff
	for {
		taking := t.awaitTurn(l)
		if taking == nil {
			return
		}
		var item T
		err := l.call(taking, func(ctx context.Context) (err error) {
			item, err = take(ctx)
			return err
		})
		p := new(panicError)
		switch {
		case errors.As(err, &p):
			l.logFailure("taking work failed", t.name, err)
			t.retry(l, &pause)
			continue
		case errors.Is(err, io.EOF):
			return
		case err != nil:
			if taking.Err() == nil {
				l.logFailure("taking work failed", t.name, err)
				t.retry(l, &pause)
			}
			continue
		}
		pause = 0
		l.run(j, t, taking, func(ctx context.Context) error { return do(ctx, item) })
	}
}

// Task runs task in the background, as work in hand: the drain waits for it, and
// its context lasts through the drain. It may be called at any time while the
// App runs, also by a handler during a drain. An error of task is logged. Before
// Run, Task returns [ErrNotReady]; when the drain is over, [ErrDraining].
func (a *App) Task(name string, task func(context.Context) error) error {
	if task == nil {
		return errors.New("gracerun: the task is nil")
	}
	l := a.running()
	if l == nil {
		return ErrNotReady
	}
	j := l.jobs.begin(name, false)
	if j == nil {
		return ErrDraining
	}
	go func() {
		defer l.jobs.end(j)
		ctx, cancel := context.WithCancel(l.end.do)
		defer cancel()
		l.logRun(name, l.call(ctx, task))
	}()
	return nil
}

// exclusive calls body while this generation, and no other, has the claim to the
// task: a kernel lock, which the kernel frees when its holder dies. The message
// to the successor only makes it prompt.
func (l *life) exclusive(t *task, body func(j *job)) {
	j := l.jobs.begin(strings.TrimPrefix(t.name, ownPrefix), true)
	if j == nil {
		return
	}
	defer l.jobs.end(j)
	if l.pid == nil { // no locks here, and no other generation
		body(j)
		return
	}
	defer func() { // also when the task calls runtime.Goexit
		if s := l.self.Successor(); s != nil {
			s.Released(t.name, t.nextDue())
		}
	}()
	if claim := l.claimTask(t); claim != nil {
		defer claim.Close()
		body(j)
	}
}

func (t *task) isElsewhere(yes bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waits = yes
}

// claimTask returns nil when the drain began first.
func (l *life) claimTask(t *task) *pidfile.File {
	path := l.taskFile(t.name, ".pid") // so that the lock is NAME.task.TASK.lock, whatever TASK ends in
	var pause backoff
	for l.end.take.Err() == nil {
		_, _, changed := t.look()
		// Older generations hold claims that were deleted: wait for their end.
		if !l.lockLost || len(l.self.Older()) == 0 {
			claim, err := pidfile.Acquire(path)
			if err == nil {
				t.isElsewhere(false)
				return claim
			}
			t.isElsewhere(true)
			if held := new(pidfile.LockedError); !errors.As(err, &held) {
				l.log.Error("no claim to the task", "task", t.name, "error", err)
				wait(l.end.take, pause.next())
				continue
			}
		}
		select {
		case <-changed:
		case <-time.After(claimPeriod):
		case <-l.end.take.Done():
		}
	}
	return nil
}

// claimPeriod is how long a claim can be free and nobody takes it, should the
// message that it is be lost with the generation that was to pass it on.
const claimPeriod = time.Second

// wakeTasks makes the task called name, or all, look at the claim, and at the files that
// steer it. When it is due is in a file, too: what a message said of it may have been since.
func (l *life) wakeTasks(name string) {
	for _, t := range l.work.tasks {
		if name == "" || name == t.name {
			t.reread(l)
		}
	}
	if s := l.supervisor(); s != nil {
		s.Look()
	}
}

// backoff is the last pause after an error.
type backoff time.Duration

// next doubles the pause, up to 30 s, and returns between half and all of it, so that
// many that failed at once do not come back at once.
func (b *backoff) next() time.Duration {
	*b = backoff(min(max(2*time.Duration(*b), 100*time.Millisecond), 30*time.Second))
	d := time.Duration(*b)
	return d/2 + rand.N(d/2)
}
