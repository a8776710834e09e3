package gracerun

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

// Requeue is what a task returns, or wraps, that hands its item back instead of
// finishing it: when [Draining] tells it that the deadline would cut it, say. It is
// no failure. To put the item back where it came from is the business of the
// function that returns it.
//
//lint:ignore ST1012 it is no failure
var Requeue = errors.New("gracerun: handed back")

// A task is registered work that is not a server. It begins when this generation
// owns the service.
type task struct {
	name, kind string
	plan       plan // of Every and Cron
	timeout    time.Duration
	run        func(l *life, t *task)

	mu       sync.Mutex
	changed  chan struct{}   // closed, and made anew, when there may be something to look at
	due      time.Time       // of the next run, where that is known
	taking   context.Context // ended by the drain and by a pause
	stop     context.CancelCauseFunc
	paused   bool
	waits    bool // of an exclusive task: an older generation has the claim
	retrying int  // goroutines that wait after an error
	ended    bool // it will not run again
	tally    tally
}

// A tally is what is kept of the runs that ended.
type tally struct {
	runs, failed, requeued int
	last                   time.Time // when the last one ended
	took                   time.Duration
	err                    string // of the last one
}

func (a *App) addTask(kind, name string, ok bool, why string, run func(*life, *task)) {
	a.addPlanned(plan{}, kind, name, ok, why, run)
}

func (a *App) addPlanned(p plan, kind, name string, ok bool, why string, run func(*life, *task)) {
	a.register(fmt.Sprintf("%s(%q)", kind, name), func(r *registry) error {
		switch {
		case name == "":
			return errors.New("the name is empty")
		case !ok:
			return errors.New(why)
		}
		if err := checkName(name); err != nil {
			return err
		}
		if err := r.take("task " + name); err != nil {
			return err
		}
		r.tasks = append(r.tasks, &task{name: name, kind: strings.ToLower(kind), plan: p, run: run, changed: make(chan struct{})})
		return nil
	})
}

// maxName leaves room for what the names of a task's files have besides.
const maxName = 150

func checkName(name string) error {
	switch n := len(url.PathEscape(name)); {
	case n > maxName:
		return fmt.Errorf("the name is too long: as part of a file's name it has %d bytes, and %d are allowed", n, maxName)
	case strings.HasPrefix(name, ownPrefix):
		return fmt.Errorf("names that begin with %q are the App's own", ownPrefix)
	}
	return nil
}

// Timeout gives each run of the Loop, Every or Cron called name, and each do of the
// Work, no more than d: then its context ends, with the cause [ErrTaskTimeout].
// Without it, and for d = 0 or less, only the drain's deadline ends it. The task may
// be registered before or after; of two calls for one name the last one counts.
func (a *App) Timeout(name string, d time.Duration) {
	a.register(fmt.Sprintf("Timeout(%q)", name), func(r *registry) error {
		r.timeouts = append(r.timeouts, timeout{name, d})
		return nil
	})
}

type timeout struct {
	name string
	d    time.Duration
}

// bind gives the tasks what was said of them by name.
func (r *registry) bind() error {
	var errs []error
	for _, o := range r.timeouts {
		t := r.task(o.name)
		switch {
		case t == nil:
			errs = append(errs, fmt.Errorf("Timeout(%q): there is no such task", o.name))
		case t.kind == kindGo:
			errs = append(errs, fmt.Errorf("Timeout(%q): a Go task has no runs: give its context a deadline yourself", o.name))
		default:
			t.timeout = max(o.d, 0)
		}
	}
	if len(errs) > 0 {
		return &faultError{errors.Join(errs...)}
	}
	return nil
}

const kindGo = "go"

// task returns the user's task of that name, nil if there is none.
func (r *registry) task(name string) *task {
	i := slices.IndexFunc(r.tasks, func(t *task) bool { return t.name == name && t.kind != kindCommands })
	if i < 0 {
		return nil
	}
	return r.tasks[i]
}

// begin runs the task, in the generation that owns the service.
func (t *task) begin(l *life) {
	t.set(func() { t.taking, t.stop = context.WithCancelCause(l.end.take) })
	t.reread(l)
	if _, paused, _ := t.look(); paused {
		l.log.Warn("the task is paused", "task", t.name)
	}
	go t.run(l, t)
}

// taskFile is beside the lock of the service.
func (l *life) taskFile(name, suffix string) string {
	dir := l.runDir
	if l.pid != nil {
		dir = filepath.Dir(l.pid.Path())
	}
	return filepath.Join(dir, l.name+".task."+url.PathEscape(name)+suffix)
}

// look tells what is to be known for waiting; changed is closed when it is no
// longer true.
func (t *task) look() (taking context.Context, paused bool, changed <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.taking, t.paused, t.changed
}

// set changes what look tells.
func (t *task) set(change func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change()
	close(t.changed)
	t.changed = make(chan struct{})
}

// awaitTurn returns the context to wait for work with, as soon as the task is not
// paused; nil when the drain has begun.
func (t *task) awaitTurn(l *life) context.Context {
	for l.end.take.Err() == nil {
		taking, paused, changed := t.look()
		if !paused {
			return taking
		}
		select {
		case <-changed:
		case <-l.end.take.Done():
		}
	}
	return nil
}

// retry waits after an error, until somebody resumes or triggers the task.
func (t *task) retry(l *life, pause *backoff) {
	t.mu.Lock()
	t.retrying++
	changed := t.changed
	t.mu.Unlock()
	timer := time.NewTimer(pause.next())
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-changed:
	case <-l.end.take.Done():
	}
	t.mu.Lock()
	t.retrying--
	t.mu.Unlock()
}

// run is one run of a task, as the work in hand of j. It gives f a context that
// ends after it, so that what hangs on it is released; taking ends what f waits with.
// The error is nil where f only gave up waiting.
func (l *life) run(j *job, t *task, taking context.Context, f func(context.Context) error) error {
	l.jobs.set(j, false)
	defer l.jobs.set(j, true)
	ctx, cancel := t.context(l, taking)
	defer cancel()
	began := time.Now()
	err := l.call(ctx, f)
	if taking.Err() != nil && l.end.do.Err() == nil && isEndOfTaking(err) {
		err = nil
	}
	t.ran(began, err)
	l.logRun(t.name, err)
	return err
}

// context is that of one run.
func (t *task) context(l *life, taking context.Context) (context.Context, context.CancelFunc) {
	ctx := context.WithValue(l.end.do, endKey{}, &end{take: l.end.take, do: l.end.do, until: taking})
	if t.timeout > 0 {
		return context.WithTimeoutCause(ctx, t.timeout, ErrTaskTimeout)
	}
	return context.WithCancel(ctx)
}

func isEndOfTaking(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, ErrDraining) || errors.Is(err, ErrPaused)
}

// call is f(ctx); a panic is its error where App.Recover is set.
func (l *life) call(ctx context.Context, f func(context.Context) error) (err error) {
	if l.app.Recover {
		defer func() {
			if v := recover(); v != nil {
				err = &panicError{v, debug.Stack()}
			}
		}()
	}
	return f(ctx)
}

// A panicError is a panic of a task that App.Recover has caught.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// Unwrap returns the error that the task panicked with, or nil.
func (e *panicError) Unwrap() error {
	err, _ := e.value.(error)
	return err
}

func (t *task) ran(began time.Time, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	y := &t.tally
	y.runs++
	y.last, y.err = time.Now(), ""
	y.took = y.last.Sub(began)
	switch {
	case errors.Is(err, Requeue):
		y.requeued++
	case err != nil:
		y.failed++
		y.err = err.Error()
	}
}

func (l *life) logRun(name string, err error) {
	switch {
	case err == nil:
	case errors.Is(err, Requeue):
		l.log.Info("task handed back", "task", name)
	default:
		l.logFailure("task failed", name, err)
	}
}

// logFailure adds the stack of a panic.
func (l *life) logFailure(what, name string, err error) {
	about := []any{"task", name, "error", err}
	if p := new(panicError); errors.As(err, &p) {
		about = append(about, "stack", string(p.stack))
	}
	l.log.Error(what, about...)
}
