//go:build linux

package test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/test/harness"
	"github.com/gracerun/grace/test/load"
)

// times are those of the App; zero means what suits a test in which they do not
// matter.
type times struct {
	ready, probation, drain time.Duration
}

func (tm times) args() []string {
	or := func(d, byDefault time.Duration) string {
		if d == 0 {
			d = byDefault
		}
		return d.String()
	}
	return []string{
		"-ready", or(tm.ready, 10*time.Second),
		"-probation", or(tm.probation, 30*time.Millisecond),
		"-drain", or(tm.drain, 10*time.Second),
	}
}

// A scene is a running testdata/service, its director, and a load on it.
type scene struct {
	*harness.Service
	t    testing.TB
	ctx  context.Context
	d    *director
	mark int // how long the log was when the fault began

	stopLoad func() *load.Result // nil = there is none
	killed   []death
}

// A death explains why requests failed that the process held itself.
type death struct {
	pid int
	at  time.Time
}

// newScene starts the service and waits until it serves.
func newScene(t testing.TB, tm times, change func(*harness.Config)) *scene {
	t.Helper()
	binary := build(t, "test/testdata/service")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	s := &scene{t: t, ctx: ctx, d: newDirector(t)}
	cfg := harness.Config{
		Binary: binary,
		Args:   append(tm.args(), "-rundir", harness.RunDir),
		Env:    []string{"DIRECTOR=" + s.d.address()},
	}
	if change != nil {
		change(&cfg)
	}
	if keepsPID() {
		cfg.Args = append(cfg.Args, "run", "--stable-pid")
	}
	var err error
	s.Service, err = harness.Start(cfg)
	s.must(err)
	t.Cleanup(s.end)
	s.serves(1)
	s.mark = len(s.Log())
	return s
}

// keepsPID reports whether the faults are to befall services with a process that keeps
// their pid (GRACERUN_STABLE_PID).
func keepsPID() bool { return os.Getenv("GRACERUN_STABLE_PID") != "" }

// end closes the scene. Of a test that failed it shows what the service said,
// and where what is left of it hangs.
func (s *scene) end() {
	if s.stopLoad != nil {
		s.stopLoad()
	}
	if s.t.Failed() {
		s.t.Log(s.story())
	}
	if err := s.Close(); err != nil && !s.t.Failed() {
		s.t.Error(err)
	}
}

// story is the log, and where the processes hang if time is over.
func (s *scene) story() string {
	if s.ctx.Err() == nil {
		return s.Log()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return s.Dump(ctx)
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// hup asks the owner for an upgrade.
func (s *scene) hup() {
	s.t.Helper()
	s.signal(s.owner(), syscall.SIGHUP)
}

func (s *scene) signal(pid int, sig syscall.Signal) {
	s.t.Helper()
	s.must(s.Signal(pid, sig))
}

// kill ends a process, as the machine does when it is out of memory.
func (s *scene) kill(pid int) {
	s.t.Helper()
	s.signal(pid, syscall.SIGKILL)
	s.gone(pid)
	s.killed = append(s.killed, death{pid, time.Now()})
}

func (s *scene) term(pid int) {
	s.t.Helper()
	s.signal(pid, syscall.SIGTERM)
}

// stop returns when the process has stopped: its threads do so one by one, and
// may accept a connection on their way.
func (s *scene) stop(pid int) {
	s.t.Helper()
	s.signal(pid, syscall.SIGSTOP)
	s.until(func() bool {
		all, err := s.Processes()
		s.must(err)
		return slices.ContainsFunc(all, func(p harness.Process) bool { return p.PID == pid && p.State == 'T' })
	}, "pid %d has not stopped", pid)
}

// until waits for what has no event.
func (s *scene) until(done func() bool, format string, args ...any) {
	s.t.Helper()
	err := harness.Until(s.ctx, func() error {
		if done() {
			return nil
		}
		return fmt.Errorf(format, args...)
	})
	s.must(err)
}

func (s *scene) cont(pid int) {
	s.t.Helper()
	s.signal(pid, syscall.SIGCONT)
}

// owner returns the process that the pid file names.
func (s *scene) owner() int {
	s.t.Helper()
	pid, err := s.Owner(s.ctx)
	s.must(err)
	return pid
}

// serves waits until a generation owns the service and answers.
func (s *scene) serves(generation int) (pid int) {
	s.t.Helper()
	pid, err := s.Generation(s.ctx, generation)
	s.must(err)
	return pid
}

// answers waits until a generation answers, whether it owns the service or not.
func (s *scene) answers(generation int) {
	s.t.Helper()
	s.until(func() bool {
		g, _, err := s.Who(s.ctx)
		s.must(err)
		return g == generation
	}, "generation %d does not answer", generation)
}

// logs waits until there is a line with all these words in the log.
func (s *scene) logs(words ...string) {
	s.t.Helper()
	_, err := s.Logged(s.ctx, s.mark, words...)
	s.must(err)
}

// gone waits until a process has exited.
func (s *scene) gone(pid int) {
	s.t.Helper()
	s.must(s.Exited(s.ctx, pid))
}

// hold keeps the next process that comes to a step there; wait returns it.
func (s *scene) hold(step string) { s.d.next(step, hold) }

func (s *scene) wait(step string) *held {
	s.t.Helper()
	h, err := s.d.wait(s.ctx, step)
	s.must(err)
	return h
}

// childAt begins an upgrade and returns the new process, held at a step.
func (s *scene) childAt(step string) *held {
	s.t.Helper()
	s.hold(step)
	s.hup()
	return s.wait(step)
}

// A slow request is in the hands of a process until it is told to finish.
type slow struct {
	s      *scene
	held   *held
	answer chan string
}

// slowRequest makes a request that is in the hands of the owner: right after an
// upgrade its predecessor may still accept one.
func (s *scene) slowRequest() *slow {
	s.t.Helper()
	for {
		r := &slow{s: s, answer: make(chan string, 1)}
		s.hold("wait")
		go func() {
			text, err := s.Get(s.ctx, "/wait")
			if err != nil {
				text = err.Error()
			}
			r.answer <- text
		}()
		if r.held = s.wait("wait"); r.pid() == s.owner() {
			return r
		}
		r.finish()
	}
}

func (r *slow) pid() int { return r.held.pid }

// finish lets the request end and checks that it has its answer.
func (r *slow) finish() {
	r.s.t.Helper()
	r.held.tell("go")
	if got, want := <-r.answer, fmt.Sprintf("waited in pid %d\n", r.pid()); got != want {
		r.s.t.Errorf("a slow request was answered with %q, want %q", got, want)
	}
}

func (s *scene) socket() string { return filepath.Join(s.RunDir, "web.sock") }

func (s *scene) socketInfo() fs.FileInfo {
	s.t.Helper()
	info, err := os.Lstat(s.socket())
	s.must(err)
	return info
}

// alone waits until the owner is the only process of the service.
func (s *scene) alone() {
	s.t.Helper()
	var all []harness.Process
	s.until(func() bool {
		all = s.generations()
		return len(all) == 1 && all[0].PID == s.owner()
	}, "not only the owner is there: %v", &all)
}

// generations are all processes but the one that keeps the pid.
func (s *scene) generations() []harness.Process {
	s.t.Helper()
	all, err := s.Processes()
	s.must(err)
	if !keepsPID() {
		return all
	}
	return slices.DeleteFunc(all, func(p harness.Process) bool { return p.PID == s.First })
}

// finish stops the service and checks that nothing is left of it.
func (s *scene) finish() {
	s.t.Helper()
	s.must(s.Stop(s.ctx))
	s.leavesNothing()
	if text := s.Log(); strings.Contains(text, "DATA RACE") {
		s.t.Error("the service has a data race")
	}
}

// leavesNothing checks the run directory: a lock file stays, for nobody may
// unlink what others may be about to lock.
func (s *scene) leavesNothing() {
	s.t.Helper()
	entries, err := os.ReadDir(s.RunDir)
	s.must(err)
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".lock" {
			s.t.Errorf("%s is left in the run directory", e.Name())
		}
	}
}

// nothingPrepared checks that no pid file is left that was prepared by a process
// which never came to own the service.
func (s *scene) nothingPrepared() {
	s.t.Helper()
	var left []string
	s.until(func() (none bool) {
		left, _ = filepath.Glob(filepath.Join(s.RunDir, ".*.new"))
		return len(left) == 0
	}, "prepared, and left in the run directory: %v", &left)
}

// upgrade replaces the owner, whose successor's pid it returns.
func (s *scene) upgrade() (pid int) {
	s.t.Helper()
	pid, err := s.Upgrade(s.ctx)
	s.must(err)
	return pid
}
