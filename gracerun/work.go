package gracerun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"path/filepath"
	"time"

	"github.com/gracerun/grace/pidfile"
)

// A task is registered work that is not a server. It begins when this generation
// owns the service.
type task struct {
	name string
	run  func(l *life, t *task)
	// wake says to an exclusive task that the name may be free, and when its
	// next run is due; zero where that is not known.
	wake chan time.Time
}

func (a *App) addTask(kind, name string, ok bool, why string, run func(*life, *task)) {
	a.register(fmt.Sprintf("%s(%q)", kind, name), func(r *registry) error {
		switch {
		case name == "":
			return errors.New("the name is empty")
		case !ok:
			return errors.New(why)
		}
		if err := r.take("task " + name); err != nil {
			return err
		}
		r.tasks = append(r.tasks, &task{name: name, run: run, wake: make(chan time.Time, 1)})
		return nil
	})
}

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
		err := f(ctx)
		switch {
		case err == nil:
		case l.end.take.Err() == nil:
			l.post(occurrence{event: evFault, err: fmt.Errorf("%s: %w", t.name, err)})
		case !errors.Is(err, context.Canceled) && !errors.Is(err, ErrDraining):
			l.log.Error("task failed in the drain", "task", t.name, "error", err)
		}
	})
}

// Loop runs task again and again, in one generation at a time: the successor
// begins when the last run of the predecessor has ended. The context lasts
// through the drain; wait with [UntilDrain] of it. After an error, which is
// logged, the next run waits: 100 ms at first, twice as long each time, at most
// 30 s.
func (a *App) Loop(name string, f func(context.Context) error) {
	a.addTask("Loop", name, f != nil, "the function is nil", func(l *life, t *task) {
		l.exclusive(t, time.Time{}, func(j *job, _ time.Time) time.Time {
			var pause backoff
			for l.end.take.Err() == nil {
				if err := l.run(j, f); err != nil {
					pause.wait(l.end.take)
				} else {
					pause = 0
				}
			}
			return time.Time{}
		})
	})
}

// Every runs task once in d, the first time after d, in one generation at a
// time; an upgrade does not move the times. The context lasts through the drain.
// Runs do not overlap: of ticks that were missed one is made up for. An error is
// logged. d must be positive.
func (a *App) Every(name string, d time.Duration, f func(context.Context) error) {
	a.addTask("Every", name, f != nil && d > 0, "the function is nil, or the duration is not positive", func(l *life, t *task) {
		l.exclusive(t, time.Now().Add(d), func(j *job, due time.Time) time.Time {
			for l.awaitDue(t, &due) {
				l.run(j, f)
				due = due.Add(d)
				if missed := time.Since(due) / d; missed > 0 {
					due = due.Add(missed * d)
				}
			}
			return due
		})
	})
}

// awaitDue waits for the time of the next run, which the predecessor's message
// may still correct. It returns false when the drain has begun.
func (l *life) awaitDue(t *task, due *time.Time) bool {
	for {
		timer := time.NewTimer(time.Until(*due))
		select {
		case <-timer.C:
			return l.end.take.Err() == nil
		case d := <-t.wake:
			timer.Stop()
			if !d.IsZero() {
				*due = d
			}
		case <-l.end.take.Done():
			timer.Stop()
			return false
		}
	}
}

// Work runs n workers (at least one) that take an item and do it. take waits
// for an item until the drain begins, and its context ends then; an item that
// it returns is done even so. do has a context that lasts through the drain.
// io.EOF from take ends the worker. After another error of take, which is
// logged, the worker pauses: 100 ms at first, twice as long each time, at most
// 30 s. An error of do is logged. Generations overlap: the old one finishes
// what it took while the new one takes.
func Work[T any](a *App, name string, n int, take func(context.Context) (T, error), do func(context.Context, T) error) {
	a.addTask("Work", name, take != nil && do != nil, "a function is nil", func(l *life, t *task) {
		for range max(n, 1) {
			if j := l.jobs.begin(t.name, true); j != nil {
				go worker(l, j, take, do)
			}
		}
	})
}

func worker[T any](l *life, j *job, take func(context.Context) (T, error), do func(context.Context, T) error) {
	defer l.jobs.end(j)
	var pause backoff
	for l.end.take.Err() == nil {
		item, err := take(l.end.take)
		switch {
		case errors.Is(err, io.EOF):
			return
		case err != nil:
			if l.end.take.Err() == nil {
				l.log.Error("taking work failed", "task", j.name, "error", err)
				pause.wait(l.end.take)
			}
			continue
		}
		pause = 0
		l.run(j, func(ctx context.Context) error { return do(ctx, item) })
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
		l.run(j, task)
	}()
	return nil
}

// run is one run of a task, as the work in hand of j. It gives f a context that
// ends after it, so that what hangs on it is released.
func (l *life) run(j *job, f func(context.Context) error) error {
	l.jobs.set(j, false)
	defer l.jobs.set(j, true)
	ctx, cancel := context.WithCancel(l.end.do)
	defer cancel()
	err := f(ctx)
	if err != nil {
		l.log.Error("task failed", "task", j.name, "error", err)
	}
	return err
}

// exclusive calls body while this generation, and no other, has the claim to the
// task: a kernel lock, which the kernel frees when its holder dies. The message
// to the successor only makes it prompt, and tells when the next run is due.
func (l *life) exclusive(t *task, due time.Time, body func(j *job, due time.Time) time.Time) {
	j := l.jobs.begin(t.name, true)
	if j == nil {
		return
	}
	defer l.jobs.end(j)
	if l.pid == nil { // no locks here, and no other generation
		body(j, due)
		return
	}
	path := filepath.Join(filepath.Dir(l.pid.Path()), l.name+".task."+url.PathEscape(t.name))
	first := due
	claim := l.claimTask(path, t, &due)
	if claim != nil {
		due = body(j, due)
		claim.Close()
	} else if due == first {
		due = time.Time{} // this generation never knew
	}
	if s := l.self.Successor(); s != nil {
		s.Released(t.name, due)
	}
}

// claimTask returns nil when the drain began first.
func (l *life) claimTask(path string, t *task, due *time.Time) *pidfile.File {
	var pause backoff
	for l.end.take.Err() == nil {
		// Older generations hold claims that were deleted: wait for their end.
		if !l.lockLost || len(l.self.Older()) == 0 {
			claim, err := pidfile.Acquire(path)
			if err == nil {
				return claim
			}
			if held := new(pidfile.LockedError); !errors.As(err, &held) {
				l.log.Error("no claim to the task", "task", t.name, "error", err)
				pause.wait(l.end.take)
				continue
			}
		}
		select {
		case d := <-t.wake:
			if !d.IsZero() {
				*due = d
			}
		case <-time.After(claimPeriod):
		case <-l.end.take.Done():
		}
	}
	return nil
}

// claimPeriod is how long a claim can be free and nobody takes it, should the
// message that it is be lost with the generation that was to pass it on.
const claimPeriod = time.Second

// wakeTasks makes exclusive tasks look at their claims.
func (l *life) wakeTasks(name string, due time.Time) {
	for _, t := range l.work.tasks {
		if name != "" && name != t.name {
			continue
		}
		if !due.IsZero() {
			select { // what it says takes the place of a mere wake-up
			case <-t.wake:
			default:
			}
		}
		select {
		case t.wake <- due:
		default:
		}
	}
}

// backoff is the last pause after an error.
type backoff time.Duration

// wait doubles the pause, up to 30 s, and waits for between half and all of it,
// so that many that failed at once do not come back at once.
func (b *backoff) wait(ctx context.Context) {
	*b = backoff(min(max(2*time.Duration(*b), 100*time.Millisecond), 30*time.Second))
	d := time.Duration(*b)
	wait(ctx, d/2+rand.N(d/2))
}
