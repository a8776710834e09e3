//go:build linux

package main_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/test/harness"
)

// The programs start one after another, each when the one before it is ready, and
// status shows them.
func TestStart(t *testing.T) {
	t.Parallel()
	diary, address := t.TempDir()+"/diary", harness.FreeAddress(t)
	inTurn := func(name, way, ready string) string {
		return entry(t, name, []string{"in-turn", diary, name, way}, ready)
	}
	s := start(t,
		inTurn("first", address, fmt.Sprintf("ready = { address = %q }", address)),
		inTurn("second", "line", `ready = { line = "^ready" }`),
		inTurn("third", "notify", "ready = { notify = true }"),
		inTurn("last", "line", ""))
	pids := s.running("first", "second", "third", "last")
	s.program("last", "has said that it is ready", func(p state) bool { return slices.Contains(p.Output, "ready to go") })

	said := s.verb(0, "status")
	for i, name := range []string{"first", "second", "third", "last"} {
		if line := fmt.Sprintf("%s: running (pid %d)", name, pids[i]); !strings.Contains(said, line) {
			t.Errorf("status does not say %q:\n%s", line, said)
		}
	}
	if !strings.Contains(said, "ready to go") {
		t.Errorf("status shows no output:\n%s", said)
	}
	s.stop()
	s.verb(3, "status")
	text, err := os.ReadFile(diary)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSpace(string(text)), "\n")
	want := []string{
		"first begins", "first is ready", "second begins", "second is ready", "third begins", "third is ready", "last begins", "last is ready",
		"first ends", "last ends", "second ends", "third ends",
	}
	slices.Sort(got[min(len(got), 8):]) // the last one is told first, but its end is not waited for
	if !slices.Equal(got, want) {
		t.Errorf("got %q,\nnot %q", got, want)
	}
}

// A reload restarts what has changed, stops what is gone, starts what is new, and
// leaves the rest alone; so does restart.
func TestReload(t *testing.T) {
	t.Parallel()
	idle := func(name, arg string, more ...string) string {
		return entry(t, name, []string{"idle", arg}, more...)
	}
	s := start(t, idle("same", ""), idle("changed", "1"), idle("gone", ""), idle("tuned", ""))
	old := s.running("same", "changed", "gone", "tuned")
	check := func(what string, now, old int, same bool) {
		t.Helper()
		if (now == old) != same {
			t.Errorf("%s: pid %d was %d", what, now, old)
		}
	}

	// How often it is restarted is nothing that the program itself would notice.
	s.configure(idle("new", ""), idle("same", ""), idle("changed", "2"), idle("tuned", "", "failures = 3"))
	s.verb(0, "reload")
	now := s.runningWithout(old[1], "new", "same", "changed", "tuned")
	check("same", now[1], old[0], true)
	check("tuned", now[3], old[3], true)
	check("changed", now[2], old[1], false)
	if err := s.Exited(s.ctx, old[2]); err != nil {
		t.Errorf("gone: %v", err)
	}

	s.configure(idle("tuned", "", `restart = "never"`), idle("new", "2"), idle("same", ""))
	s.verb(0, "restart")
	last := s.runningWithout(now[0], "tuned", "new", "same")
	check("tuned", last[0], now[3], true)
	check("new", last[1], now[0], false)
	check("same", last[2], now[1], true)

	// What is removed and comes back is as if it had never been.
	s.configure(idle("same", ""), idle("changed", "1"))
	s.verb(0, "reload")
	check("same", s.running("same", "changed")[0], last[2], true)
	s.stop()
}

// A file with a fault refuses a reload and a start, in its own words, changes
// nothing, and keeps nobody from stopping the programs.
func TestBadFile(t *testing.T) {
	t.Parallel()
	good := entry(t, "good", []string{"idle"})
	s := start(t, good, entry(t, "better", []string{"idle"}))
	pids := s.running("good", "better")
	s.configure(good, entry(t, "good", []string{"idle"}, `restart = "sometimes"`))
	faults := []string{
		s.path("programs.toml") + `:7:1: name: "good" is the program in line 3, too`,
		s.path("programs.toml") + `:9:1: restart: "sometimes" is not "always", "on-failure" or "never"`,
	}
	refused := func(verb string) {
		t.Helper()
		said := s.verb(1, verb)
		for _, fault := range faults {
			if !strings.Contains(said, fault) {
				t.Errorf("%s does not say %s:\n%s", verb, fault, said)
			}
		}
	}
	refused("check")
	refused("reload")
	refused("restart")
	if now := s.running("good", "better"); !slices.Equal(now, pids) {
		t.Errorf("the pids were %d and are %d", pids, now)
	}
	s.stop()
	refused("start")
	s.verb(3, "status")
	if left, err := s.Processes(); err != nil || len(left) > 0 {
		t.Errorf("after a start that failed there is %v, %v", left, err)
	}
	s.configure(good)
	s.verb(0, "check")
}

// What ignores SIGTERM is killed on schedule, with its children, and the others
// are not waited for longer than they need.
func TestStubborn(t *testing.T) {
	t.Parallel()
	s := start(t, entry(t, "stubborn", []string{"stubborn"}, `stop_timeout = "200ms"`), entry(t, "idle", []string{"idle"}))
	s.running("stubborn", "idle")
	s.program("stubborn", "has a child", func(p state) bool { return slices.Contains(p.Output, "<nil>") })
	began := time.Now()
	s.stop()
	if took := time.Since(began); took > 8*time.Second { // idle alone would have 10
		t.Errorf("stop took %v", took)
	}
}

// A program that cannot be started is reported, and hinders no other.
func TestMissing(t *testing.T) {
	t.Parallel()
	s := start(t,
		command("missing", []string{"/nowhere/program"}),
		command("forbidden", []string{"/etc/passwd"}),
		command("directory", []string{"/etc"}),
		command("nowhere", []string{"/bin/true"}, `dir = "/nowhere"`),
		command("nobody", []string{"/bin/true"}, "user = 4123456789"), // its group cannot be known
		entry(t, "idle", []string{"idle"}))
	s.program("idle", "runs", func(p state) bool { return p.State == "running" })
	for _, tt := range []struct{ name, words string }{
		{"missing", "/nowhere/program"}, {"forbidden", "/etc/passwd"}, {"directory", "/etc"}, {"nowhere", "/nowhere"}, {"nobody", "4123456789"},
	} {
		p := s.program(tt.name, "is reported", func(p state) bool { return p.Error != "" })
		if p.PID != 0 || !slices.Contains([]string{"starting", "waiting", "failed"}, p.State) || !strings.Contains(p.Error, tt.words) {
			t.Errorf("%+v", p)
		}
	}
	s.stop()
}

// A program that keeps crashing is given up, which is shown, until somebody says
// otherwise.
func TestCrashLoop(t *testing.T) {
	t.Parallel()
	s := start(t, entry(t, "crash", []string{"crash"}, "failures = 3", `backoff = "5ms"`), entry(t, "idle", []string{"idle"}))
	p := s.program("crash", "is given up", func(p state) bool { return p.State == "failed" })
	if p.PID != 0 || p.LastExit != "exit status 3" || p.Restarts != 2 || p.Error == "" || !slices.Contains(p.Output, "crashing") {
		t.Errorf("%+v", p)
	}
	if said := s.verb(0, "status"); !strings.Contains(said, "crash: failed") || !strings.Contains(said, "exit status 3") {
		t.Errorf("status says\n%s", said)
	}
	times := func() int { return strings.Count(s.read("log.txt"), "line=crashing") }
	if n := times(); n != 3 {
		t.Errorf("it ran %d times, not 3:\n%s", n, s.read("log.txt"))
	}
	s.verb(0, "resume", "crash")
	s.program("crash", "is given up once more", func(p state) bool { return p.State == "failed" && times() == 6 })
	s.program("idle", "runs", func(p state) bool { return p.State == "running" })
	s.stop()
}

// Programs survive the death of supervise, and the next start finds them.
func TestKilled(t *testing.T) {
	t.Parallel()
	s := start(t, entry(t, "one", []string{"idle"}, `env = { A = 1 }`), entry(t, "two", []string{"count"}, fmt.Sprintf("output = %q", t.TempDir()+"/out")))
	pids := s.running("one", "two")
	for i := range 3 {
		pid, err := s.PID()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Signal(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := s.Exited(s.ctx, pid); err != nil {
			t.Fatal(err)
		}
		s.env = append(s.env, fmt.Sprintf("SHELL_%d=another", i))
		s.verb(0, "start")
		if now := s.running("one", "two"); !slices.Equal(now, pids) {
			t.Fatalf("the pids were %d and are %d", pids, now)
		}
	}
	s.stop()
}

// No line is lost, cut, doubled or out of order over upgrades, neither in a file
// nor in the log.
func TestNoLineIsLost(t *testing.T) {
	t.Parallel()
	out := t.TempDir() + "/out"
	s := start(t, entry(t, "file", []string{"count"}, fmt.Sprintf("output = %q", out)), entry(t, "log", []string{"count"}))
	pids := s.running("file", "log")
	for range 20 {
		s.verb(0, "reload")
	}
	if now := s.running("file", "log"); !slices.Equal(now, pids) {
		t.Errorf("the pids were %d and are %d", pids, now)
	}
	s.stop()
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	checkCount(t, strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"))
	var lines []string
	for line := range strings.Lines(s.read("log.txt")) {
		if _, line, ok := strings.Cut(line, "command=log stream=stdout line="); ok {
			lines = append(lines, strings.Trim(line, "\"\n"))
		}
	}
	checkCount(t, lines)
}

// checkCount checks that these are all the lines of the program count.
func checkCount(t *testing.T, lines []string) {
	t.Helper()
	for i, line := range lines {
		want := fmt.Sprint("line ", i)
		if i == len(lines)-1 {
			want = fmt.Sprint("last ", i)
		}
		if line != want {
			t.Errorf("line %d of %d is %q, not %q", i, len(lines), line, want)
			return
		}
	}
	if len(lines) < 100 {
		t.Errorf("%d lines only", len(lines))
	}
	t.Log(len(lines), "lines")
}

// A program runs as its user, in its directory, with its environment.
func TestUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can start a program as another user")
	}
	dir := t.TempDir()
	private := dir + "/private"
	if err := os.WriteFile(private, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	const shell = "id -un; id -gn; echo $HOME; pwd; echo $KEY; echo $NOTIFY_SOCKET$LISTEN_FDS; ls /proc/self/fd | wc -l"
	s := start(t,
		command("id", []string{"/bin/sh", "-c", shell}, `user = "nobody"`, `restart = "never"`, `dir = "/usr"`, `env = { KEY = "a value" }`),
		command("private", []string{private}, `user = "nobody"`),
		entry(t, "idle", []string{"idle"}))
	p := s.program("id", "is done", func(p state) bool { return p.State == "done" })
	// The fourth descriptor is that of the directory.
	if want := []string{"nobody", "nogroup", "/nonexistent", "/usr", "a value", "", "4"}; p.LastExit != "exit status 0" || !slices.Equal(p.Output, want) {
		t.Errorf("%+v, not %q", p, want)
	}
	p = s.program("private", "is reported", func(p state) bool { return p.Error != "" })
	if !strings.Contains(p.Error, private) || !strings.Contains(p.Error, "permission denied") {
		t.Errorf("%+v", p)
	}
	s.program("idle", "runs", func(p state) bool { return p.State == "running" })
	s.stop()
}

// A pause stops a program for as long as nobody resumes it; trigger restarts it.
func TestPause(t *testing.T) {
	t.Parallel()
	s := start(t, entry(t, "a", []string{"idle"}), entry(t, "b", []string{"idle"}))
	pids := s.running("a", "b")
	s.verb(0, "pause", "a")
	paused := func(p state) bool { return p.State == "paused" && p.PID == 0 }
	s.program("a", "is paused", paused)
	if err := s.Exited(s.ctx, pids[0]); err != nil {
		t.Error(err)
	}
	s.verb(0, "reload")
	s.program("a", "is paused after a reload", paused)
	s.verb(0, "stop")
	s.verb(0, "start")
	s.program("a", "is paused after a restart", paused)
	s.verb(0, "resume", "a")
	now := s.running("a", "b")
	s.verb(0, "trigger", "b")
	s.program("b", "is restarted", func(p state) bool { return p.State == "running" && p.PID != now[1] })
	if said := s.verb(2, "pause", "c"); !strings.Contains(said, "a, b") {
		t.Errorf("pause c says\n%s", said)
	}
	if said := s.verb(0, "tasks"); !strings.Contains(said, "running") {
		t.Errorf("tasks says\n%s", said)
	}
	s.stop()
}
