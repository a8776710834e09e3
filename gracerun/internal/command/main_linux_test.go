package command_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/gracerun/internal/command"
)

// TestMain plays the other programs, too: the environment names the part. The tests
// run in a process of their own, below one that is the init of their orphans: it
// fails the run if one of them is left.
func TestMain(m *testing.M) {
	part := os.Getenv("COMMAND_HELPER")
	os.Unsetenv("COMMAND_HELPER")
	isFuzz := func(arg string) bool {
		return strings.HasPrefix(arg, "-test.fuzz") && !strings.HasPrefix(arg, "-test.fuzzcachedir")
	}
	switch {
	case part == "" && slices.ContainsFunc(os.Args, isFuzz): // whose processes talk by descriptors
		os.Exit(m.Run())
	case part == "":
		os.Exit(superviseTests())
	case part == "tests":
		os.Exit(runTests(m))
	}
	if err := parts()[part](); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", part, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// superviseTests reaps whatever loses its parent, as init does.
func superviseTests() (code int) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	tests, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{
		Env: append(os.Environ(), "COMMAND_HELPER=tests"), Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if err == nil && pid == tests.Pid {
			code = status.ExitStatus()
			break
		}
	}
	left, limit := "", time.Now().Add(3*time.Second)
	for ; ; time.Sleep(10 * time.Millisecond) {
		if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err == unix.ECHILD {
			break
		}
		if time.Now().After(limit) {
			for pid, what := range children() {
				left += " " + what
				unix.Kill(pid, unix.SIGKILL) // its own children come next
			}
		}
	}
	if left != "" {
		fmt.Fprintf(os.Stderr, "processes left behind:%s\n", left)
		return 1
	}
	return code
}

// runTests fails the run if a goroutine is left.
func runTests(m *testing.M) int {
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt) // starts a goroutine that stays
	signal.Stop(c)
	before := runtime.NumGoroutine()
	code := m.Run()
	if code == 0 && !quiet(before) {
		fmt.Fprintln(os.Stderr, "goroutines left behind:")
		pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		code = 1
	}
	return code
}

// quiet waits a moment for goroutines that are about to end.
func quiet(before int) bool {
	limit := time.Now().Add(3 * time.Second)
	for runtime.NumGoroutine() > before {
		if time.Now().After(limit) {
			return false
		}
		time.Sleep(10 * time.Millisecond)
	}
	return true
}

// children returns the processes whose parent we are, orphans included.
func children() map[int]string {
	found := map[int]string{}
	dirs, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range dirs {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		name, rest, _ := strings.Cut(string(text), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == itoa(os.Getpid()) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			found[pid] = name + ") " + fields[0]
		}
	}
	return found
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until waits for a condition, not for a time.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for limit := time.Now().Add(30 * time.Second); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// A logbook is what was logged.
type logbook struct {
	mu      sync.Mutex
	records []map[string]any
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var r map[string]any
	if err := json.Unmarshal(b, &r); err != nil {
		return 0, err
	}
	l.records = append(l.records, r)
	return len(b), nil
}

// find returns the records with the message, of the command.
func (l *logbook) find(message, name string) (found []map[string]any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.records {
		if r["msg"] == message && r["command"] == name {
			found = append(found, r)
		}
	}
	return found
}

// lines returns the output of the command, in order.
func (l *logbook) lines(name, stream string) (lines []string) {
	for _, r := range l.find("output", name) {
		if r["stream"] == stream {
			lines = append(lines, r["line"].(string))
		}
	}
	return lines
}

// A guard is a supervisor in this process.
type guard struct {
	*command.Supervisor
	t      *testing.T
	log    *logbook
	take   context.CancelFunc
	do     context.CancelFunc
	keep   bool
	result chan error
}

// A scene is a service: its directory, and what was logged.
type scene struct {
	t      *testing.T
	dir    string
	log    *logbook
	keeper bool
}

// scenes calls test for both ways to know how a program ended.
func scenes(t *testing.T, test func(t *testing.T, s *scene)) {
	t.Helper()
	for name, keeper := range map[string]bool{"kernel": false, "keeper": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.keeper = keeper
			test(t, s)
		})
	}
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{t: t, dir: t.TempDir(), log: &logbook{}}
	t.Cleanup(func() {
		if t.Failed() {
			s.sweep()
			for _, r := range s.log.records {
				text, _ := json.Marshal(r)
				t.Logf("%.300s", text)
			}
		}
	})
	return s
}

// sweep ends what a failed test has left behind.
func (s *scene) sweep() {
	records, _ := filepath.Glob(filepath.Join(s.dir, "*.json"))
	for _, path := range records {
		var r struct{ PID int }
		text, _ := os.ReadFile(path)
		if json.Unmarshal(text, &r) == nil && r.PID > 1 {
			syscall.Kill(-r.PID, syscall.SIGKILL)
		}
	}
}

// guard starts a supervisor, and stops it with the test.
func (s *scene) guard(specs ...command.Spec) *guard {
	s.t.Helper()
	return s.guardLater(specs...)()
}

// guardLater makes one, which runs when it is called.
func (s *scene) guardLater(specs ...command.Spec) func() *guard {
	s.t.Helper()
	for _, spec := range specs {
		check(s.t, spec.Check())
	}
	log := slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	g := &guard{t: s.t, log: s.log, result: make(chan error, 1)}
	g.Supervisor = command.New(command.Options{Dir: s.dir, Name: "svc", Log: log, Keeper: s.keeper}, specs)
	take, endTake := context.WithCancel(context.Background())
	do, endDo := context.WithCancel(context.Background())
	g.take, g.do = endTake, endDo
	return func() *guard {
		go func() { g.result <- g.Run(take, do, func() bool { return g.keep }) }()
		s.t.Cleanup(func() {
			g.take()
			select {
			case <-g.result:
			case <-time.After(10 * time.Second):
				g.do()
				<-g.result
			}
			g.do()
		})
		return g
	}
}

func itoa(n int) string { return strconv.Itoa(n) }

// stop ends the supervisor and its programs.
func (g *guard) stop() error {
	g.take()
	err := <-g.result
	g.result <- err
	return err
}

// leave ends the supervisor, as after an upgrade.
func (g *guard) leave() {
	g.t.Helper()
	g.keep = true
	check(g.t, g.stop())
}

func (g *guard) status(name string) command.Status {
	for _, st := range g.Status() {
		if st.Name == name {
			return st
		}
	}
	return command.Status{}
}

// await waits for the state, and returns the status.
func (g *guard) await(name, state string) (st command.Status) {
	g.t.Helper()
	until(g.t, name+" is "+state, func() bool { st = g.status(name); return st.State == state })
	return st
}

// shell is a program, written for sh(1).
func shell(name, script string) command.Spec {
	return command.Spec{
		Name: name, MaxBackoff: time.Minute, Backoff: 10 * time.Millisecond, FailurePeriod: time.Minute, StopTimeout: 10 * time.Second,
		Cmd: func(context.Context) *exec.Cmd { return exec.Command("/bin/sh", "-c", script) },
	}
}

func parts() map[string]func() error {
	return map[string]func() error{
		"inventory": playInventory, "listen": playListen, "notify": playNotify, "notify on order": playNotifyOnOrder,
		"generation": playGeneration, "count": playCount, "unique": playUnique, "leaks": playLeaks, "parent": playParent,
		"headless": playHeadless,
	}
}

// playHeadless ends the first thread, and goes on.
func playHeadless() error {
	for {
		go func() {
			runtime.LockOSThread()
			if unix.Gettid() == unix.Getpid() {
				syscall.Syscall(unix.SYS_EXIT, 0, 0, 0)
			}
			select {}
		}()
		time.Sleep(time.Millisecond)
	}
}
