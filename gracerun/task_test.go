package gracerun

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestPause: what is paused begins nothing, finishes what it has in hand, and
// stays paused in the next process.
func TestPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		for _, c := range []struct {
			steps func(*App)
			want  []time.Duration
		}{
			{func(app *App) {
				time.Sleep(2500 * time.Millisecond)
				check(t, app.Pause("tick"))
				time.Sleep(4 * time.Second) // 3 s, 4 s, 5 s, 6 s
				check(t, app.Resume("tick"))
				time.Sleep(time.Second)
				check(t, app.Pause("tick"))
				check(t, app.Pause("tick"))
			}, []time.Duration{1000 * ms, 2000 * ms, 6500 * ms, 7000 * ms}},
			{func(app *App) {
				time.Sleep(2500 * time.Millisecond)
				if s := app.Status().Tasks[0]; s.State != "paused" || !s.Paused {
					t.Errorf("in the next process: %+v", s)
				}
				check(t, app.Trigger("tick")) // once, although it is paused
				time.Sleep(time.Second)
				check(t, app.Resume("tick"))
				check(t, app.Resume("tick"))
				time.Sleep(time.Second)
			}, []time.Duration{2500 * ms, 3500 * ms, 4000 * ms}},
		} {
			app := App{RunDir: dir}
			runs := newElapsed()
			app.Every("tick", time.Second, func(context.Context) error { runs.note(); return nil })
			s := perform(t, &app, &fakeSelf{})
			s.ready()
			c.steps(&app)
			s.end()
			check(t, s.wait())
			if got := runs.all(); !slices.Equal(got, c.want) {
				t.Errorf("it ran at %v, want %v", got, c.want)
			}
		}
	})
}

const ms = time.Millisecond

// TestPauseWhileOthersLook: a message of another generation has the files read at any
// moment, and nobody forgets a pause for what it saw before.
func TestPauseWhileOthersLook(t *testing.T) {
	t.Parallel()
	var app App
	app.Loop("loop", func(ctx context.Context) error { <-UntilDrain(ctx).Done(); return nil })
	s := perform(t, &app, &fakeSelf{})
	s.ready()
	l := app.running()
	for range 1000 {
		var looking sync.WaitGroup
		for range 4 {
			looking.Go(func() { l.wakeTasks("") })
		}
		check(t, app.Pause("loop"))
		looking.Wait()
		if _, paused, _ := l.work.task("loop").look(); !paused {
			t.Error("the pause is forgotten")
			break
		}
		check(t, app.Resume("loop"))
	}
	s.end()
	check(t, s.wait())
}

// TestPauseEndsTheTaking, with its cause, and not the run.
func TestPauseEndsTheTaking(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var causes []error
		note := func(ctx context.Context) {
			<-ctx.Done()
			mu.Lock()
			defer mu.Unlock()
			causes = append(causes, context.Cause(ctx))
		}
		var app App
		app.Loop("loop", func(ctx context.Context) error {
			note(UntilDrain(ctx))
			if ctx.Err() != nil || context.Cause(ThroughDrain(ctx)) != nil {
				t.Error("the pause has ended the run")
			}
			return context.Cause(UntilDrain(ctx)) // it gave up waiting: no failure
		})
		Work(&app, "work", 1,
			func(ctx context.Context) (int, error) { note(ctx); return 0, ctx.Err() },
			func(context.Context, int) error { t.Error("it took nothing"); return nil })
		s := perform(t, &app, &fakeSelf{})
		s.ready()
		synctest.Wait() // until both wait
		for _, name := range []string{"loop", "work"} {
			check(t, app.Pause(name))
			synctest.Wait()
			if st := app.Status().Tasks; !slices.ContainsFunc(st, func(s TaskStatus) bool { return s.Name == name && s.State == "paused" }) {
				t.Errorf("%s: %+v", name, st)
			}
			check(t, app.Resume(name))
			synctest.Wait()
		}
		select {
		case <-Draining(app.running().end.do):
			t.Error("a pause is taken for a drain")
		default:
		}
		s.end()
		check(t, s.wait())
		if want := []error{ErrPaused, ErrPaused, ErrDraining, ErrDraining}; !slices.Equal(causes, want) {
			t.Errorf("the waits ended with %v, want %v", causes, want)
		}
		for _, task := range app.Status().Tasks {
			if task.Failed > 0 {
				t.Errorf("to give up waiting was a failure: %+v", task)
			}
		}
	})
}

// TestTrigger runs once more, and moves no times.
func TestTrigger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		runs := newElapsed()
		app.Every("tick", 10*time.Second, func(context.Context) error {
			runs.note()
			time.Sleep(time.Second)
			return nil
		})
		s := perform(t, &app, &fakeSelf{})
		s.ready()
		time.Sleep(3 * time.Second)
		check(t, app.Trigger("tick"))
		time.Sleep(500 * ms)
		check(t, app.Trigger("tick")) // while it runs: once more after it
		check(t, app.Trigger("tick"))
		time.Sleep(7 * time.Second)
		s.end()
		check(t, s.wait())
		if got, want := runs.all(), []time.Duration{3 * time.Second, 4 * time.Second, 10 * time.Second}; !slices.Equal(got, want) {
			t.Errorf("it ran at %v, want %v", got, want)
		}
	})
}

// TestTriggerInAPause: the pause does not end what that run waits with.
func TestTriggerInAPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		waits := make(chan error, 1)
		app.Every("tick", time.Hour, func(ctx context.Context) error {
			waits <- context.Cause(UntilDrain(ctx))
			return nil
		})
		s := perform(t, &app, &fakeSelf{})
		s.ready()
		check(t, app.Pause("tick"))
		check(t, app.Trigger("tick"))
		if err := <-waits; err != nil {
			t.Errorf("it would not have waited: %v", err)
		}
		s.end()
		check(t, s.wait())
	})
}

// TestTriggerEndsABackoff of a Loop and of a Work, once they wait.
func TestTriggerEndsABackoff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		n := 0
		app.Loop("loop", func(context.Context) error { n++; return errors.New("again") })
		s := perform(t, &app, &fakeSelf{})
		s.ready()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		before := n
		if st := app.Status().Tasks[0]; st.State != "retrying" || st.Failed != n || st.LastError != "again" {
			t.Errorf("%+v after %d runs", st, n)
		}
		check(t, app.Trigger("loop"))
		synctest.Wait()
		if n != before+1 {
			t.Errorf("%d runs, then %d", before, n)
		}
		s.end()
		check(t, s.wait())
	})
}

// TestSteerNobody names what cannot be steered.
func TestSteerNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		app.Go("go", func(ctx context.Context) error { <-ctx.Done(); return nil })
		app.Loop("loop", func(ctx context.Context) error { <-UntilDrain(ctx).Done(); return nil })
		if err := app.Pause("go"); !errors.Is(err, ErrNotReady) {
			t.Errorf("before Run: %v", err)
		}
		s := perform(t, &app, &fakeSelf{})
		s.ready()
		for _, steer := range []func(string) error{app.Pause, app.Resume, app.Trigger} {
			if err := steer("lop"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), `"lop", only go, loop`) {
				t.Errorf("no such task: %v", err)
			}
			if err := steer("go"); !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("Go: %v", err)
			}
		}
		check(t, app.Pause("loop"))
		if err := app.Trigger("loop"); err == nil || !strings.Contains(err.Error(), "resume it") {
			t.Errorf("Trigger of a Loop that is paused: %v", err)
		}
		s.end()
		check(t, s.wait())
		if err := app.Pause("loop"); !errors.Is(err, ErrDraining) {
			t.Errorf("after Run: %v", err)
		}
	})
}

// TestTimeout: each run has its own time, and is told why it is over.
func TestTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		var ends []time.Duration
		var causes []error
		app.Loop("loop", func(ctx context.Context) error {
			began := time.Now()
			<-ctx.Done()
			ends, causes = append(ends, time.Since(began)), append(causes, context.Cause(ctx))
			return context.Cause(ctx)
		})
		app.Timeout("loop", time.Minute)
		app.DrainTimeout = 30 * time.Second
		s := perform(t, &app, &fakeSelf{})
		s.ready()
		time.Sleep(70 * time.Second)
		s.end()
		if err := s.wait(); !errors.Is(err, ErrDrainTimeout) {
			t.Errorf("Run = %v", err)
		}
		if !slices.Equal(causes, []error{ErrTaskTimeout, ErrDrainTimeout}) || ends[0] != time.Minute {
			t.Errorf("the runs ended after %v with %v", ends, causes)
		}
		if st := app.Status().Tasks[0]; st.Timeout != time.Minute || st.Failed != 2 {
			t.Errorf("%+v", st)
		}
	})
}

func TestNameFaults(t *testing.T) {
	t.Parallel()
	nothing := func(context.Context) error { return nil }
	for name, want := range map[string]string{
		strings.Repeat("字", 17): "153 bytes", "gracerun.commands": `"gracerun."`, "": "empty",
	} {
		app := App{RunDir: t.TempDir()}
		app.Loop(name, nothing)
		app.Command(name, func(context.Context) *exec.Cmd { return nil })
		err := app.Run(t.Context())
		for _, kind := range []string{"Loop", "Command"} {
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%s(%q): ", kind, name)) || strings.Count(err.Error(), want) != 2 {
				t.Errorf("%s %q: %v", kind, name, err)
			}
		}
	}
}

func TestTimeoutFaults(t *testing.T) {
	t.Parallel()
	var app App
	app.RunDir = t.TempDir()
	app.Go("go", func(context.Context) error { return nil })
	app.Timeout("go", time.Second)
	app.Timeout("mial", time.Second)
	err := app.Run(t.Context())
	for _, want := range []string{`Timeout("mial"): there is no such task`, `Timeout("go")`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Run = %v, want %s", err, want)
		}
	}
}

// TestRequeue is no failure, and counted.
func TestRequeue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		queue := make(chan int, 1)
		queue <- 7
		var app App
		Work(&app, "work", 1,
			func(ctx context.Context) (int, error) {
				select {
				case i := <-queue:
					return i, nil
				case <-ctx.Done():
					return 0, ctx.Err()
				}
			},
			func(ctx context.Context, i int) error {
				<-Draining(ctx)
				queue <- i
				return errors.Join(errors.New("no time left"), Requeue)
			})
		s := perform(t, &app, &fakeSelf{})
		s.ready()
		synctest.Wait()
		s.end()
		check(t, s.wait())
		if st := app.Status().Tasks[0]; len(queue) != 1 || st.Requeued != 1 || st.Failed != 0 || st.Runs != 1 {
			t.Errorf("%d items left, %+v", len(queue), st)
		}
	})
}

// TestRecover: a panic is the error of its run.
func TestRecover(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		cause := errors.New("a cause")
		app := App{Recover: true, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		app.Every("tick", time.Second, func(context.Context) error { panic(cause) })
		s := perform(t, &app, &fakeSelf{})
		s.ready()
		check(t, app.Task("once", func(context.Context) error { panic("at the disco") }))
		time.Sleep(2500 * ms)
		s.end()
		check(t, s.wait())
		if st := app.Status().Tasks[0]; st.Runs != 2 || st.Failed != 2 || st.LastError != "panic: a cause" {
			t.Errorf("%+v", st)
		}
		for _, want := range []string{"at the disco", "task_test.go", "task=once", "task=tick"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log does not tell %q:\n%s", want, log.String())
			}
		}
		if err := error(&panicError{value: cause}); !errors.Is(err, cause) {
			t.Error("the error that was panicked with is lost")
		}
	})
}

// TestRecoverOfGo: the error ends the App, and the log has the stack.
func TestRecoverOfGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		app := App{Recover: true, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		app.Go("store", func(context.Context) error { time.Sleep(time.Second); panic("at the disco") })
		app.Go("other", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }) // no failure
		s := perform(t, &app, &fakeSelf{})
		s.ready()
		if err := s.wait(); err == nil || !strings.Contains(err.Error(), "store: panic: at the disco") {
			t.Errorf("Run = %v", err)
		}
		if !strings.Contains(log.String(), "task_test.go") {
			t.Errorf("no stack in the log:\n%s", log.String())
		}
		if st := app.Status().Tasks; st[0].Failed != 1 || st[1].Failed != 0 {
			t.Errorf("%+v", st)
		}
	})
}
