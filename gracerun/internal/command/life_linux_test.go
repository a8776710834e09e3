package command_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/gracerun/internal/command"
	"github.com/gracerun/grace/test/harness"
)

// TestLife of one program: it is started, seen, and stopped.
func TestLife(t *testing.T) {
	t.Parallel()
	scenes(t, func(t *testing.T, s *scene) {
		g := s.guard(shell("web", "echo hello; echo bad >&2; exec sleep 1000"))
		st := g.await("web", command.Running)
		until(t, "it wrote", func() bool { return len(g.status("web").Output) == 2 })
		if st.PID == 0 || st.LastExit != "" || st.Restarts != 0 || st.Since.IsZero() {
			t.Errorf("%+v", st)
		}
		if group, err := unix.Getpgid(st.PID); group != st.PID || err != nil {
			t.Errorf("its group is %d, %v", group, err)
		}
		check(t, g.stop())
		if st = g.status("web"); st.PID != 0 || st.LastExit != "signal: terminated" {
			t.Errorf("%+v", st)
		}
		s.wantOutput("web", "stdout", "hello")
		s.wantOutput("web", "stderr", "bad")
		s.wantFiles()
	})
}

// wantOutput compares what is in the log.
func (s *scene) wantOutput(name, stream string, want ...string) {
	s.t.Helper()
	if got := s.log.lines(name, stream); !slices.Equal(got, want) {
		s.t.Errorf("%s of %s: %q, want %q", stream, name, got, want)
	}
}

// wantFiles compares what is left in the run directory.
func (s *scene) wantFiles(want ...string) {
	s.t.Helper()
	var got []string
	entries, err := os.ReadDir(s.dir)
	check(s.t, err)
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, want) {
		s.t.Errorf("left in the run directory: %q, want %q", got, want)
	}
}

// TestOrder: one after another, when the one before is ready; and back.
func TestOrder(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	log := filepath.Join(t.TempDir(), "log")
	script := func(name string) string {
		return fmt.Sprintf(`trap 'echo %[1]s ends >>%[2]s; exit' TERM; echo %[1]s >>%[2]s; sleep 0.1; echo %[1]s ready >>%[2]s; echo ready; while :; do sleep 0.01; done`, name, log)
	}
	var specs []command.Spec
	for _, name := range []string{"c", "a", "b"} {
		spec := shell(name, script(name))
		spec.ReadyLine = "^ready$"
		specs = append(specs, spec)
	}
	specs[1].Stagger = 200 * time.Millisecond
	g := s.guard(specs...)
	g.await("b", command.Running)
	if a, b := g.status("a").Since, g.status("b").Since; b.Sub(a) < 300*time.Millisecond {
		t.Errorf("b was started %v after a", b.Sub(a))
	}
	check(t, g.stop())
	text, err := os.ReadFile(log)
	check(t, err)
	// The last one is told first; none waits for another's end.
	lines := strings.Fields(strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", ","))
	if want := "c,c ready,a,a ready,b,b ready,"; !strings.HasPrefix(strings.Join(lines, " "), want) {
		t.Errorf("%q, want first %q", lines, want)
	}
	if told := s.log.order("command told to end"); !slices.Equal(told, []string{"b", "a", "c"}) {
		t.Errorf("told %q", told)
	}
}

// order returns the names of the commands in the records with the message.
func (l *logbook) order(message string) (names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.records {
		if r["msg"] == message {
			names = append(names, r["command"].(string))
		}
	}
	return names
}

// TestPolicies: when a program that has ended is started again.
func TestPolicies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		policy command.Policy
		script string
		again  bool
		exit   string
	}{
		{command.Always, "exit 0", true, "exit status 0"},
		{command.Always, "exit 3", true, "exit status 3"},
		{command.OnFailure, "exit 0", false, "exit status 0"},
		{command.OnFailure, "exit 42", false, "exit status 42"},
		{command.OnFailure, "exit 3", true, "exit status 3"},
		{command.OnFailure, "kill -9 $$", true, "signal: killed"},
		{command.Never, "exit 0", false, "exit status 0"},
		{command.Never, "exit 3", false, "exit status 3"},
	} {
		t.Run(fmt.Sprint(c.policy, " ", c.script), func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			spec := shell("x", c.script)
			spec.Restart, spec.ExitCodes, spec.Failures = c.policy, []int{41, 42}, -1
			g := s.guard(spec)
			if !c.again {
				st := g.await("x", command.Done)
				if st.Restarts != 0 || st.LastExit != c.exit {
					t.Errorf("%+v", st)
				}
				return
			}
			until(t, "it is started again", func() bool { return g.status("x").Restarts >= 2 })
			if st := g.status("x"); st.LastExit != c.exit {
				t.Errorf("%+v", st)
			}
		})
	}
}

// TestCrashLoop backs off, and is given up: said once, with the last lines.
func TestCrashLoop(t *testing.T) {
	t.Parallel()
	scenes(t, func(t *testing.T, s *scene) {
		spec := shell("x", "echo why; exit 9")
		spec.Failures, spec.Backoff = 3, 20*time.Millisecond
		g := s.guard(spec, shell("other", "exec sleep 1000"))
		st := g.await("x", command.Failed)
		if st.Restarts != 2 || st.Error != "given up after 3 failures: exit status 9" || !slices.Equal(st.Output, []string{"why", "why", "why"}) {
			t.Errorf("%+v", st)
		}
		if said := s.log.find("command given up", "x"); len(said) != 1 || said[0]["level"] != "ERROR" || !strings.Contains(said[0]["output"].(string), "why") {
			t.Errorf("said %v", said)
		}
		var begun []time.Time
		for _, r := range s.log.find("command started", "x") {
			at, err := time.Parse(time.RFC3339Nano, r["time"].(string))
			check(t, err)
			begun = append(begun, at)
		}
		if len(begun) != 3 || begun[1].Sub(begun[0]) < 10*time.Millisecond || begun[2].Sub(begun[1]) < 20*time.Millisecond {
			t.Errorf("started at %v", begun)
		}
		g.await("other", command.Running)

		check(t, g.Resume("x")) // one more chance
		until(t, "it is tried again", func() bool { return len(s.log.find("command started", "x")) == 6 })
		g.await("x", command.Failed)
		next := s.guardLater(spec)
		g.leave()
		g = next()
		until(t, "the next generation tries", func() bool { return len(s.log.find("command started", "x")) == 9 })
		g.await("x", command.Failed)
	})
}

// TestStubborn programs are killed on schedule.
func TestStubborn(t *testing.T) {
	t.Parallel()
	scenes(t, func(t *testing.T, s *scene) {
		spec := shell("x", "trap '' TERM; echo ready; while :; do sleep 0.01; done")
		spec.ReadyLine, spec.StopTimeout = "ready", 200*time.Millisecond
		g := s.guard(spec)
		g.await("x", command.Running)
		begin := time.Now()
		check(t, g.stop())
		if took := time.Since(begin); took < spec.StopTimeout || took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		if st := g.status("x"); st.LastExit != "signal: killed" {
			t.Errorf("%+v", st)
		}
	})
}

// TestDeadline of the service ends all that is left, and is told.
func TestDeadline(t *testing.T) {
	t.Parallel()
	scenes(t, func(t *testing.T, s *scene) {
		good := shell("good", "exec sleep 1000")
		bad := shell("bad", "trap '' TERM; echo ready; while :; do sleep 0.01; done")
		bad.ReadyLine, bad.StopTimeout = "ready", 0
		g := s.guard(good, bad)
		g.await("bad", command.Running)
		g.take()
		until(t, "the good one ends", func() bool { return g.status("good").LastExit != "" })
		if st := g.status("bad"); st.State != command.Stopping {
			t.Errorf("%+v", st)
		}
		g.do()
		var late *command.DeadlineError
		if err := g.stop(); !errors.As(err, &late) || !slices.Equal(late.Names, []string{"bad"}) {
			t.Errorf("Run: %v", err)
		}
		if st := g.status("bad"); st.LastExit != "signal: killed" {
			t.Errorf("%+v", st)
		}
	})
}

// TestGroup: what a program leaves behind ends before it is started again, and what
// leaves the group holds nothing up.
func TestGroup(t *testing.T) {
	t.Parallel()
	scenes(t, func(t *testing.T, s *scene) {
		pids := filepath.Join(t.TempDir(), "pids")
		spec := shell("x", fmt.Sprintf(`(trap '' TERM; while :; do sleep 0.01; done) & echo $! >>%[1]s; sleep 1000 & echo $! >>%[1]s
			setsid sh -c 'echo $$ >>%[1]s; exec sleep 1000' &
			while [ $(wc -l <%[1]s) -lt 3 ]; do sleep 0.01; done # until that one has left
			echo last words; exit 1`, pids))
		spec.StopTimeout, spec.Failures = 100*time.Millisecond, 1
		alone := shell("alone", "echo alone; exit 1")
		alone.Restart = command.Never
		g := s.guard(spec, alone)
		g.await("x", command.Failed)
		g.await("alone", command.Done)
		text, err := os.ReadFile(pids)
		check(t, err)
		list := strings.Fields(string(text))
		if len(list) != 3 {
			t.Fatalf("pids %q", list)
		}
		for i, text := range list {
			pid, err := strconv.Atoi(text)
			check(t, err)
			if i == 2 { // it has a session of its own
				check(t, syscall.Kill(pid, syscall.SIGKILL))
			} else if isAlive(pid) {
				t.Errorf("process %d of the group lives", i)
			}
		}
		s.wantOutput("x", "stdout", "last words")
		if len(s.log.find("command left a process outside its group, which nobody watches", "x")) != 1 {
			t.Error("nothing is said of who has escaped")
		}
		if len(s.log.find("command left a process outside its group, which nobody watches", "alone")) > 0 {
			t.Error("somebody is said to have escaped who never was")
		}
	})
}

// TestNobodyEscaped: who has the output of a program open for a moment, as every process
// has that is started at the same time, is not accused.
func TestNobodyEscaped(t *testing.T) {
	t.Parallel()
	scenes(t, func(t *testing.T, s *scene) {
		spec := shell("x", "read line; echo $line")
		spec.Restart = command.Never
		in, end, err := os.Pipe()
		check(t, err)
		defer in.Close()
		defer end.Close()
		cmd := spec.Cmd
		spec.Cmd = func(ctx context.Context) *exec.Cmd {
			c := cmd(ctx)
			c.Stdin = in
			return c
		}
		g := s.guard(spec)
		g.await("x", command.Running)
		other, err := os.OpenFile(filepath.Join(s.dir, "svc.command.x.stdout"), os.O_RDWR, 0)
		check(t, err)
		defer other.Close()
		fmt.Fprintln(end, "hello")
		g.await("x", command.Done)
		s.wantOutput("x", "stdout", "hello")
		if len(s.log.find("command left a process outside its group, which nobody watches", "x")) > 0 {
			t.Error("somebody is said to have escaped who never was")
		}
	})
}

// TestFleeting: processes that end as soon as they have started the next one are hard to
// see, and end with their group all the same.
func TestFleeting(t *testing.T) {
	t.Parallel()
	scenes(t, func(t *testing.T, s *scene) {
		dir := t.TempDir()
		check(t, harness.WriteProgram(dir+"/next", []byte("#!/bin/sh\n\"$0\" &\n"), 0o755))
		spec := shell("x", fmt.Sprintf("echo $$ >>%[1]s/pids; %[1]s/next; exit 1", dir))
		spec.Failures, spec.Backoff, spec.MaxBackoff = 5, time.Millisecond, time.Millisecond
		g := s.guard(spec)
		g.await("x", command.Failed)
		text, err := os.ReadFile(dir + "/pids")
		check(t, err)
		for group := range strings.FieldsSeq(string(text)) {
			pid, err := strconv.Atoi(group)
			check(t, err)
			defer syscall.Kill(-pid, syscall.SIGKILL)
			until(t, "the group is gone", func() bool { return syscall.Kill(-pid, 0) == syscall.ESRCH })
		}
	})
}

// isAlive does not count a zombie.
func isAlive(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(text), ") ")
	return err == nil && !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}

// TestForkBomb dies with its group. The kernel bounds it: a user of its own may have
// so many processes.
func TestForkBomb(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can be another user, whose number of processes is limited")
	}
	scenes(t, func(t *testing.T, s *scene) {
		check(t, os.Chmod(s.dir, 0o755))
		uid := 40_000 + 2*(os.Getpid()%5_000) // no user of the system, nor of another test
		if s.keeper {
			uid++
		}
		user := itoa(uid)
		spec := shell("x", `ulimit -p 40 && [ "$(ulimit -p)" = 40 ] || exit
			bomb() { trap '' TERM; while :; do bomb & sleep 0.05; done; }; bomb 2>/dev/null & wait`)
		spec.StopTimeout, spec.User, spec.Group, spec.Restart = 100*time.Millisecond, user, user, command.Never
		g := s.guard(spec)
		pid := g.await("x", command.Running).PID
		until(t, "there are many", func() bool { return len(members(pid)) > 20 })
		if n := len(members(pid)); n > 40 {
			t.Errorf("there are %d: the limit is none", n)
		}
		check(t, g.stop())
		if left := members(pid); len(left) > 0 {
			t.Errorf("%d of the group are left", len(left))
		}
	})
}

// members returns the processes of a group.
func members(group int) (pids []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if g, err := unix.Getpgid(pid); err == nil && g == group && isAlive(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestSteering: pause, resume and trigger.
func TestSteering(t *testing.T) {
	t.Parallel()
	scenes(t, func(t *testing.T, s *scene) {
		spec := shell("a/b", "exec sleep 1000")
		g := s.guard(spec)
		first := g.await("a/b", command.Running).PID
		check(t, g.Trigger("a/b"))
		until(t, "it is restarted", func() bool { st := g.status("a/b"); return st.State == command.Running && st.PID != first })
		check(t, g.Pause("a/b"))
		if st := g.await("a/b", command.Paused); st.PID != 0 || st.Restarts != 0 {
			t.Errorf("%+v", st)
		}
		if err := g.Trigger("a/b"); err == nil {
			t.Error("what is paused was triggered")
		}
		next := s.guardLater(spec)
		g.leave()
		g = next()
		g.await("a/b", command.Paused)
		check(t, g.stop())
		g = s.guard(spec) // a new start
		g.await("a/b", command.Paused)
		check(t, g.Resume("a/b"))
		g.await("a/b", command.Running)
		for _, steer := range []func(string) error{g.Pause, g.Resume, g.Trigger} {
			if err := steer("b"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("of another name: %v", err)
			}
		}
		check(t, g.stop())
		s.wantFiles()
	})
}

// TestSteeringAnother generation than the one that runs: it is heard there, or by the
// next.
func TestSteeringAnother(t *testing.T) {
	t.Parallel()
	scenes(t, func(t *testing.T, s *scene) {
		list := []command.Spec{shell("restarted", "exec sleep 1000"), shell("paused", "exec sleep 1000"), shell("resumed", "exit 1"), shell("done", "exit 0")}
		list[2].Failures, list[3].Restart = 1, command.Never
		g := s.guard(list...)
		first := g.await("restarted", command.Running).PID
		g.await("resumed", command.Failed)
		next := s.guardLater(list...)
		other := command.New(command.Options{Dir: s.dir, Name: "svc"}, list)
		defer other.Close()
		check(t, other.Trigger("restarted"))
		g.Look()
		until(t, "it is restarted", func() bool { st := g.status("restarted"); return st.State == command.Running && st.PID != first })
		first = g.status("restarted").PID

		g.await("done", command.Done)
		check(t, other.Trigger("restarted"))
		check(t, other.Trigger("done"))
		check(t, other.Pause("paused"))
		check(t, other.Resume("resumed"))
		g.leave()
		g = next()
		until(t, "it is restarted", func() bool { st := g.status("restarted"); return st.State == command.Running && st.PID != first })
		g.await("paused", command.Paused)
		until(t, "both are started again", func() bool {
			return len(s.log.find("command ended", "done")) == 2 && len(s.log.find("command ended", "resumed")) == 2
		})
		check(t, other.Resume("paused"))
		g.Look()
		g.await("paused", command.Running)
		check(t, other.Trigger("restarted")) // too late
		check(t, g.stop())
		s.wantOutput("done", "stdout")
	})
}

// TestTriggerEndsAPause of the back-off, and starts one that is done.
func TestTriggerEndsAPause(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	crash, once := shell("crash", "exit 1"), shell("once", "echo ran")
	crash.Backoff, crash.MaxBackoff, once.Restart = time.Hour, time.Hour, command.Never
	g := s.guard(crash, once)
	g.await("once", command.Done)
	var st command.Status
	until(t, "it is due", func() bool { st = g.status("crash"); return !st.Due.IsZero() })
	if time.Until(st.Due) < 20*time.Minute {
		t.Errorf("%+v", st)
	}
	check(t, g.Trigger("crash"))
	check(t, g.Trigger("once"))
	until(t, "both are started again", func() bool {
		return len(s.log.find("command started", "crash")) == 2 && len(s.log.lines("once", "stdout")) == 2
	})
}

// TestUsage is that of the whole group.
func TestUsage(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	g := s.guard(shell("x", "(while :; do :; done) & while :; do :; done"), shell("idle", "exec sleep 1000"))
	var st command.Status
	until(t, "time passes", func() bool { st = g.status("x"); return st.CPU >= 0.2 })
	if st.Memory < 100<<10 || st.Memory > 1<<30 {
		t.Errorf("%+v", st)
	}
	if idle := g.status("idle"); idle.CPU > 0.1 || idle.Memory == 0 {
		t.Errorf("%+v", idle)
	}
	if names := g.Names(); !slices.Equal(names, []string{"x", "idle"}) {
		t.Errorf("names %q", names)
	}
}

// TestBeforeRun: what is not begun says what it knows.
func TestBeforeRun(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	old, fresh := shell("old", "exec sleep 1000"), shell("fresh", "exec sleep 1000")
	g := s.guard(old)
	pid := g.await("old", command.Running).PID
	next := command.New(command.Options{Dir: s.dir, Name: "svc"}, []command.Spec{old, fresh})
	defer next.Close()
	st := next.Status()
	if st[0].State != command.Older || st[0].PID != pid || st[1].State != command.Waiting || st[1].Output == nil {
		t.Errorf("%+v", st)
	}
	check(t, next.Reopen())
}

// TestContext: the end of the supervisor's ends no program through os/exec.
func TestContext(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	spec := shell("x", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done")
	spec.ReadyLine = "ready"
	cmd := spec.Cmd
	spec.Cmd = func(ctx context.Context) *exec.Cmd {
		c := exec.CommandContext(ctx, cmd(ctx).Path)
		c.Args = cmd(ctx).Args
		return c
	}
	g := s.guard(spec)
	g.await("x", command.Running)
	check(t, g.stop())
	if st := g.status("x"); st.LastExit != "exit status 5" {
		t.Errorf("%+v", st)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	check(t, command.Spec{Name: "x"}.Check())
	for name, spec := range map[string]command.Spec{
		"a name":       {Name: strings.Repeat("x", 200)},
		"an escape":    {Name: strings.Repeat("/", 100)},
		"a line":       {Name: "x", ReadyLine: "("},
		"an address":   {Name: "x", ReadyAddress: "localhost"},
		"no port":      {Name: "x", ReadyAddress: "localhost:"},
		"a policy":     {Name: "x", Restart: 3},
		"failures":     {Name: "x", Failures: 1001},
		"a signal":     {Name: "x", StopSignal: 65},
		"an output":    {Name: "x", Output: "log"},
		"error output": {Name: "x", ErrorOutput: "./log"},
	} {
		if spec.Check() == nil {
			t.Errorf("%s: nothing is wrong", name)
		}
	}
}
