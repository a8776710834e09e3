//go:build linux

package verbs_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun/internal/control"
	"github.com/gracerun/grace/gracerun/internal/verbs"
	"github.com/gracerun/grace/pidfile"
)

// update rewrites the golden files.
var update = flag.Bool("update", false, "rewrite the golden files")

// TestDescribe is what people see.
func TestDescribe(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	services := map[string]control.Status{
		"new": {Name: "hello", PID: 42, Generation: 1, State: "ready", StartedAt: ago(1300 * time.Millisecond)},
		"busy": {
			Name: "hello", Version: "v3", PID: 42, Generation: 3, State: "upgrading", StartedAt: ago(192*time.Minute + 5*time.Second),
			Sockets:  []control.Socket{{Network: "tcp", Address: ":8080", Bound: "[::]:8080"}, {Network: "unix", Address: "/run/x.sock", Bound: "/run/x.sock"}},
			InFlight: []control.Work{{Name: "tcp :8080", Count: 3}, {Name: "mail", Count: 1, Since: ago(12 * time.Second)}},
			Generations: []control.Generation{
				{Number: 1, PID: 40, Version: "v1", State: "draining", InFlight: []control.Work{{Name: "tcp :8080"}, {Name: "mail", Count: 2}}, Deadline: now.Add(25 * time.Second)},
				{Number: 2, PID: 41, State: "draining", Deadline: ago(time.Second)},
				{Number: 3, PID: 42, Version: "v3", State: "upgrading"},
			},
			LastUpgrade: &control.Upgrade{At: ago(3 * time.Hour), OK: true, From: 2, To: 3, PID: 42, Took: 1.234},
		},
		"stopping": {
			Name: "hello", Version: "v3", PID: 42, Generation: 3, State: "draining", StartedAt: ago(50 * time.Hour), Deadline: now.Add(7 * time.Second),
			LastUpgrade: &control.Upgrade{At: ago(90 * time.Second), From: 3, To: 4, PID: 43, Took: 0.2, Stage: "setup", Error: "no database\nasked twice\n"},
		},
	}
	delaying := services["stopping"]
	delaying.TakesUntil = now.Add(4 * time.Second)
	services["delaying"] = delaying
	services["supervising"] = supervising(now)
	for name, st := range services {
		compare(t, name, verbs.Describe(&verbs.Service{Name: "hello"}, st, now))
	}
	compare(t, "tasks", verbs.Tables(supervising(now), now))
}

// compare checks what is said against a golden file.
func compare(t *testing.T, name, got string) {
	t.Helper()
	golden := filepath.Join("testdata", name+".txt")
	if *update {
		write(t, golden, got)
	}
	want, err := os.ReadFile(golden)
	check(t, err)
	if got != string(want) {
		t.Errorf("%s:\n%s\nwant:\n%s", name, got, want)
	}
}

// supervising is a service with tasks and commands in all states that are worth a word.
func supervising(now time.Time) control.Status {
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	return control.Status{
		Name: "hello", PID: 42, Generation: 2, State: "ready", StartedAt: ago(3 * time.Hour),
		InFlight: []control.Work{{Name: "mail", Count: 3, Since: ago(90 * time.Second)}},
		Tasks: []control.Task{
			{Name: "mail", Kind: "work", State: "running", Running: 3, Since: ago(90 * time.Second), Timeout: 120, Runs: 1042, Failed: 7, Requeued: 2, LastRun: ago(2 * time.Second), LastTook: 1.25},
			{Name: "clean\tup\n", Kind: "every", Schedule: "10s", State: "waiting", Due: now.Add(4 * time.Second), Runs: 1, LastRun: ago(6 * time.Second), LastTook: 0.0034},
			{Name: "report", Kind: "cron", Schedule: "CRON_TZ=Europe/Berlin 0 4 * * *", State: "retrying", Due: ago(time.Millisecond), Runs: 2, Failed: 2, LastRun: ago(26 * time.Hour), LastTook: 61, LastError: "no paper\nand no ink\n"},
			{Name: "mirror", Kind: "loop", State: "running", Paused: true, Running: 1},
			{Name: "müll", Kind: "loop", State: "paused", Paused: true},
			{Name: "feed", Kind: "go", State: "older"},
		},
		Commands: []control.Command{
			{Name: "web", State: "running", PID: 4711, Since: ago(2 * time.Hour), Restarts: 1, LastExit: "signal: killed", CPU: 83.2, Memory: 187<<20 + 3, Output: []string{"one", "\x1b[2Jtwo\r", "three", strings.Repeat("four ", 50)}},
			{Name: "slow one", State: "waiting", Since: ago(time.Second), Due: now.Add(2500 * time.Millisecond), Restarts: 4, LastExit: "exit status 1"},
			{Name: "gone", State: "failed", Since: ago(4 * time.Minute), Restarts: 10, Error: "fork/exec /opt/gone: no such file or directory\nit is not installed"},
			{Name: "off", State: "paused"},
		},
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	for state, code := range map[string]int{"ready": 0, "upgrading": 150, "draining": 151, "starting": 152} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			dir := temp(t)
			d := launch(t, dir, state)
			r := do(t, dir, "status").want(code, fmt.Sprintf("(pid %d), generation 1, version v1, up ", d.pid), "\n  listening     tcp 127.0.0.1:80\n", "\n  in hand       http 2\n")
			r.lacks("warning")
			ready := 1
			if state == "ready" || state == "upgrading" {
				ready = 0
			}
			do(t, dir, "status", "--ready").want(ready)
			v := do(t, dir, "status", "--json").want(code).object()
			if v["state"] != state || v["pid"] != float64(d.pid) || v["generation"] != 1.0 {
				t.Errorf("%v", v)
			}
		})
	}
}

func TestStatusNotRunning(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	do(t, dir, "status").want(3, "hello: not running\n")
	path := filepath.Join(dir, "hello.pid")
	write(t, path, fmt.Sprintln(os.Getpid()))
	do(t, dir, "status").want(1, "not running, but the pid file "+path+" was left")
	do(t, filepath.Join(dir, "missing"), "status").want(3)
	do(t, dir, "status", "--ready").want(1)
	do(t, filepath.Join(dir, "missing"), "status", "--ready").want(1)
	entries, err := os.ReadDir(dir)
	check(t, err)
	if len(entries) != 1 {
		t.Errorf("status writes: %v", entries)
	}
}

// pidFile spoils that of a service.
func pidFile(content string, mode os.FileMode) func(*testing.T, string, *server) {
	return func(t *testing.T, dir string, _ *server) {
		path := filepath.Join(dir, "hello.pid")
		write(t, path, content)
		check(t, os.Chmod(path, mode))
	}
}

// TestStatusWarns: the service runs, and something of it is missing.
func TestStatusWarns(t *testing.T) {
	t.Parallel()
	nothing := func(*testing.T, string, *server) {}
	for name, c := range map[string]struct {
		words []string
		harm  func(t *testing.T, dir string, d *server)
		code  int
		want  string
	}{
		"pid file missing":      {[]string{"nopid"}, nothing, 0, "hello.pid is missing"},
		"pid file corrupt":      {[]string{"nopid"}, pidFile("junk", 0o644), 0, "cannot be trusted"},
		"pid file writable":     {nil, func(t *testing.T, dir string, _ *server) { check(t, os.Chmod(filepath.Join(dir, "hello.pid"), 0o666)) }, 0, "lets anybody write it"},
		"pid file of another":   {[]string{"nopid"}, pidFile(fmt.Sprintln(os.Getpid()), 0o644), 0, "names a process that does not hold the lock"},
		"lock gone":             {nil, func(t *testing.T, dir string, _ *server) { check(t, os.Remove(filepath.Join(dir, "hello.lock"))) }, 0, "hello.lock, so another one could start: was it deleted? An upgrade takes a new one"},
		"socket gone":           {nil, func(t *testing.T, dir string, _ *server) { check(t, os.Remove(filepath.Join(dir, "hello.sock"))) }, 0, "nobody listens on the control socket"},
		"socket stale":          {nil, staleSocket, 0, "nobody listens on the control socket"},
		"socket mute":           {[]string{"mute"}, nothing, 0, "does not answer"},
		"stopped":               {nil, func(t *testing.T, _ string, d *server) { halt(t, d.cmd.Process) }, 0, "does not answer"},
		"stale, socket gone":    {[]string{"nopid", "nosocket"}, pidFile(fmt.Sprintln(os.Getpid()), 0o644), 2, "hello.pid names a process"},
		"missing, socket stale": {[]string{"nopid", "nosocket"}, staleSocket, 2, "hello.pid is missing"},
		"corrupt, socket gone":  {[]string{"nopid", "nosocket"}, pidFile("-1\n", 0o644), 2, "cannot be trusted"},
		"not the owner's, mute": {[]string{"nopid", "mute"}, pidFile("1\n", 0o644), 2, "hello.pid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := temp(t)
			d := launch(t, dir, c.words...)
			c.harm(t, dir, d)
			began := time.Now()
			do(t, dir, "status").want(c.code, fmt.Sprintf("(pid %d)", d.pid), "\n  warning       ", c.want)
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestStatusBeginning: what has the lock, and nothing else yet, is about to start; what
// stops, or starts, need not have a pid file.
func TestStatusBeginning(t *testing.T) {
	t.Parallel()
	for words, code := range map[string]int{"nopid nosocket": 152, "nopid starting": 152, "nopid draining": 151} {
		t.Run(words, func(t *testing.T) {
			t.Parallel()
			dir := temp(t)
			d := launch(t, dir, strings.Fields(words)...)
			do(t, dir, "status").want(code, fmt.Sprintf("ing (pid %d)", d.pid)).lacks("warning")
			v := do(t, dir, "status", "--json").want(code).object()
			if want := stateOf(code); v["state"] != want || v["pid"] != float64(d.pid) {
				t.Errorf("%v, want state %s", v, want)
			}
		})
	}
}

func stateOf(code int) string {
	if code == 151 {
		return "draining"
	}
	return "starting"
}

// TestStatusLetsGo: it ends in the moment of the question.
func TestStatusLetsGo(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	d := launch(t, dir, "nopid", "nosocket")
	time.AfterFunc(20*time.Millisecond, func() { d.send("let go") })
	do(t, dir, "status").want(3, "not running")
}

// staleSocket puts a file there that nobody listens on any more.
func staleSocket(t *testing.T, dir string, _ *server) {
	path := filepath.Join(dir, "hello.sock")
	os.Remove(path)
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	check(t, err)
	check(t, syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}))
	check(t, syscall.Close(fd))
}

// TestStatusUnnamed: the lock is held by this process, which is not looked for.
func TestStatusUnnamed(t *testing.T) {
	t.Parallel()
	syscall.ForkLock.RLock() // a child of another test would have the lock, too, until its execve(2)
	defer syscall.ForkLock.RUnlock()
	dir := temp(t)
	path := filepath.Join(dir, "hello.pid")
	f, err := pidfile.Acquire(path)
	check(t, err)
	defer f.Close()
	do(t, dir, "status").want(152, "starting (an unknown process)")
	write(t, path, fmt.Sprintln(os.Getppid()))
	if r := do(t, dir, "status").want(2, "unknown: somebody holds "+pidfile.LockPath(path), "'hello start' waits for who holds it"); strings.Contains(r.out, "upgrade") {
		t.Errorf("it tells of what is not possible: %s", r.out)
	}
	write(t, path, "junk")
	do(t, dir, "status").want(4, "cannot be trusted")
	v := do(t, dir, "status", "--json").want(4).object()
	if v["pid"] != 0.0 || v["state"] != "unknown" {
		t.Errorf("%v", v)
	}
}

func TestStatusUnknown(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	check(t, os.Mkdir(filepath.Join(dir, "hello.lock"), 0o755))
	do(t, dir, "status").want(4, "unknown: ", "a directory")
	if v := do(t, dir, "status", "--json").want(4).object(); v["state"] != "unknown" {
		t.Errorf("%v", v)
	}
}

// TestStatusAsAnotherUser needs no right but to search the directory.
func TestStatusAsAnotherUser(t *testing.T) {
	t.Parallel()
	needRoot(t)
	dir := temp(t)
	asNobody := func(code int, want string) map[string]any {
		t.Helper()
		cmd := user(dir, "status", "--json")
		cmd.Env = append(cmd.Env, "VERBS_NOBODY=1")
		out, err := cmd.Output()
		if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		v := map[string]any{}
		check(t, json.Unmarshal(out, &v))
		if v["exit"] != float64(code) || !strings.Contains(fmt.Sprint(v["message"]), want) {
			t.Errorf("%v, want exit status %d and %q", v, code, want)
		}
		return v
	}
	asNobody(3, "not running")
	d := launch(t, dir)
	v := asNobody(0, "only its user and root may see more")
	if v["pid"] != float64(d.pid) {
		t.Errorf("pid %v, want %d", v["pid"], d.pid)
	}
	check(t, os.Remove(filepath.Join(dir, "hello.pid")))
	asNobody(2, "its user and root see more")
	check(t, os.Chmod(dir, 0o700))
	asNobody(4, "unknown")
}
