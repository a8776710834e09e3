//go:build unix

package verbs_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun/internal/control"
	"github.com/gracerun/grace/gracerun/internal/verbs"
	"github.com/gracerun/grace/pidfile"
)

// The test binary plays the services, and the users: VERBS_HELPER names the part.
func TestMain(m *testing.M) {
	switch os.Getenv("VERBS_HELPER") {
	case "":
		flag.Set("test.parallel", "6") // most of the time the tests wait
		os.Exit(m.Run())
	case "service":
		serve()
	case "verb":
		if os.Getenv("VERBS_NOBODY") != "" {
			must(syscall.Setgroups(nil))
			must(syscall.Setgid(nobody))
			must(syscall.Setuid(nobody))
		}
		s := serviceAt(os.Getenv("VERBS_DIR"))
		os.Exit(s.Exec(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
}

// nobody is the unprivileged user of tests that run as root.
const nobody = 65534

// serviceAt is the service whose files are in dir.
func serviceAt(dir string) *verbs.Service {
	return &verbs.Service{
		Name: "hello", Version: "v1",
		PIDFile: filepath.Join(dir, "hello.pid"), Socket: filepath.Join(dir, "hello.sock"),
		ReadyTimeout: 10 * time.Second, Probation: 10 * time.Millisecond, StopTimeout: 10 * time.Second,
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "service:", err)
		os.Exit(1)
	}
}

// A server is a service that runs in a process of its own, and says on a pipe what happens
// to it.
type server struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
	pid int
}

// launch starts a service in dir. It does as the words say:
//
//	nopid       it has no pid file
//	nosocket    no control socket
//	mute        a control socket that nobody answers on
//	starting, draining, ...  the state that it claims to be in
//	stubborn    TERM does not end it, but it says that it drains; the word "end" does
//	lingers     TERM lets it let go of everything, and not exit
//	gradual     TERM starts a successor first, which is to be stopped in its turn
//	hangup      HUP lets it start a successor and end
//	ignorehup   HUP is ignored
//	reloads     it can reload, and says so
//	tasks       it has tasks and a command, and says what is done to them
//	older       it is of a build that knows of no tasks
//	fails       so do its upgrades and reloads, and what is done to one of its tasks
//	stops       it begins to drain in an upgrade
//	breaks      it ends in the middle of an upgrade; with hangup, its successor has taken over;
//	            with moves, the successor of another upgrade
//	unlocked    its lock file is deleted
func launch(t *testing.T, dir string, words ...string) *server {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "VERBS_HELPER=service", "VERBS_DIR="+dir, "VERBS_WORDS="+strings.Join(words, " "), "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	d := &server{t: t, cmd: cmd, in: in, out: bufio.NewScanner(out), pid: cmd.Process.Pid}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGCONT)
		in.Close() // successors have the other end, too
		d.rest()
		cmd.Wait()
	})
	d.expect("ready")
	return d
}

func (d *server) expect(want string) {
	d.t.Helper()
	if !d.out.Scan() || d.out.Text() != want {
		d.t.Fatalf("the service says %q, want %q", d.out.Text(), want)
	}
}

// halt returns when the process has stopped: its threads do so one by one.
func halt(t *testing.T, p *os.Process) {
	t.Helper()
	check(t, p.Signal(syscall.SIGSTOP))
	var status syscall.WaitStatus
	for !status.Stopped() {
		_, err := syscall.Wait4(p.Pid, &status, syscall.WUNTRACED, nil)
		if err != nil && err != syscall.EINTR {
			t.Fatal(err)
		}
	}
}

// rest returns what it says until it, and its successors, have ended.
func (d *server) rest() (lines []string) {
	for d.out.Scan() {
		lines = append(lines, d.out.Text())
	}
	return lines
}

func (d *server) send(line string) {
	d.t.Helper()
	_, err := fmt.Fprintln(d.in, line)
	check(d.t, err)
}

// A fake is the service in its process.
type fake struct {
	dir    string
	words  map[string]bool
	lock   *pidfile.File
	once   sync.Once
	left   bool // a successor has taken over
	drains atomic.Bool
	began  time.Time
	ended  chan struct{}
}

func serve() {
	f := &fake{dir: os.Getenv("VERBS_DIR"), words: map[string]bool{}, began: time.Now(), ended: make(chan struct{})}
	for w := range strings.FieldsSeq(os.Getenv("VERBS_WORDS")) {
		f.words[w] = true
	}
	signals := make(chan os.Signal, 10)
	signal.Notify(signals, syscall.SIGTERM)
	signal.Notify(signals, syscall.SIGHUP)
	if f.words["ignorehup"] {
		signal.Ignore(syscall.SIGHUP)
	}
	f.own()
	f.listen()
	if f.words["unlocked"] {
		must(os.Remove(pidfile.LockPath(f.lock.Path())))
	}
	f.say("ready")
	go f.read()
	for {
		select {
		case sig := <-signals:
			f.hear(sig)
		case <-f.ended:
			return
		}
	}
}

func (f *fake) own() {
	path := filepath.Join(f.dir, "hello.pid")
	var err error
	if f.words["successor"] {
		f.lock, err = pidfile.Adopt(path, os.NewFile(3, "lock"))
	} else {
		f.lock, err = pidfile.Acquire(path)
	}
	must(err)
	if !f.words["nopid"] {
		must(f.lock.WritePID())
	}
}

func (f *fake) listen() {
	if f.words["nosocket"] {
		return
	}
	path := filepath.Join(f.dir, "hello.sock")
	os.Remove(path)
	ln, err := net.Listen("unix", path)
	must(err)
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	must(os.Chmod(path, 0o600))
	if f.words["mute"] {
		return
	}
	s := control.Service{Status: f.status, Upgrade: f.upgrade, Stop: func(string) { f.say("stop"); f.end() },
		Changed: func() <-chan struct{} { return nil }, Draining: func() <-chan struct{} { return nil }}
	if f.words["reloads"] {
		s.Reload = f.reload
	}
	if f.words["tasks"] {
		s.Pause, s.Resume, s.Trigger = f.told("pause"), f.told("resume"), f.told("trigger")
	}
	srv := control.NewServer(s, slog.New(slog.DiscardHandler))
	if f.words["older"] {
		srv.Handler = http.HandlerFunc(f.older)
	}
	go srv.Serve(ln)
}

// older answers as a build did that had no tasks to show.
func (f *fake) older(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/status" {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	text, err := json.Marshal(f.status())
	must(err)
	var object map[string]any
	must(json.Unmarshal(text, &object))
	delete(object, "tasks")
	delete(object, "commands")
	must(json.NewEncoder(w).Encode(object))
}

func (f *fake) told(verb string) func(string) error {
	return func(name string) error {
		f.say(verb + " " + name)
		switch {
		case name == "feed":
			return fmt.Errorf("a task of Go cannot be told to %s (%w)", verb, errors.ErrUnsupported)
		case name == "report" && f.words["fails"]:
			return errors.New("the disk is full")
		case name == "late":
			return fmt.Errorf("there is no task %q (%w)", name, fs.ErrNotExist)
		}
		return nil
	}
}

func (f *fake) status() control.Status {
	state := "ready"
	for _, s := range []string{"starting", "upgrading", "draining"} {
		if f.words[s] {
			state = s
		}
	}
	deadline := time.Time{}
	if f.drains.Load() {
		state, deadline = "draining", time.Now().Add(time.Minute)
	}
	st := control.Status{
		Deadline: deadline,
		Name:     "hello", Version: "v1", PID: os.Getpid(), Generation: 1, State: state, StartedAt: f.began,
		Sockets:     []control.Socket{{Network: "tcp", Address: ":80", Bound: "127.0.0.1:80"}},
		InFlight:    []control.Work{{Name: "http", Count: 2}},
		Generations: []control.Generation{{Number: 1, PID: os.Getpid(), State: state}},
	}
	if f.words["tasks"] {
		st.Tasks = []control.Task{
			{Name: "mail", Kind: "work", State: "running", Running: 2, Since: f.began},
			{Name: "report", Kind: "cron", Schedule: "0 4 * * *", State: "paused", Paused: true},
			{Name: "feed", Kind: "go", State: "running", Running: 1},
			{Name: "late", Kind: "loop", State: "waiting"},
		}
		st.Commands = []control.Command{{Name: "web", State: "running", PID: 4711, Output: []string{"listening"}}}
	}
	return st
}

func (f *fake) upgrade(ctx context.Context, progress func(control.Event)) error {
	pid := os.Getpid() // so that it is this one who owns the service then
	progress(control.Event{Event: control.EventStarted, PID: pid, Generation: 2})
	switch {
	case f.words["breaks"]:
		switch {
		case f.words["hangup"]:
			progress(control.Event{Event: control.EventStarted, PID: f.succeed("nosocket"), Generation: 2})
			time.Sleep(500 * time.Millisecond) // it is to be heard
		case f.words["moves"]:
			f.succeed()
		}
		os.Exit(0)
	case f.words["fails"]:
		f.drains.Store(f.words["stops"])
		return &control.Failure{Stage: "setup", PID: pid, Err: fmt.Errorf("no database\nasked twice")}
	case f.words["stubborn"]:
		<-ctx.Done()
		return ctx.Err()
	}
	progress(control.Event{Event: control.EventServing, PID: pid, Generation: 2, Version: "v2"})
	progress(control.Event{Event: control.EventProbation, PID: pid, Generation: 2})
	progress(control.Event{Event: control.EventCommitted, PID: pid, Generation: 2, Version: "v2"})
	return nil
}

func (f *fake) reload(context.Context) error {
	f.say("reload")
	if f.words["fails"] {
		return fmt.Errorf("line 7: no such colour")
	}
	return nil
}

// read does what the test says, until it says no more.
func (f *fake) read() {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		switch in.Text() {
		case "pid":
			must(f.lock.WritePID())
		case "end":
			f.end()
		case "exit":
			close(f.ended)
		case "let go": // not an orderly end
			must(f.lock.Close())
			close(f.ended)
		}
	}
	os.Exit(0)
}

func (f *fake) hear(sig os.Signal) {
	switch {
	case sig == syscall.SIGHUP:
		f.say("HUP")
		if f.words["hangup"] {
			f.succeed("nosocket")
			f.close()
		}
	case f.words["gradual"] && !f.left:
		f.say("TERM")
		f.left = true
		f.succeed("nosocket") // and drains
	case f.words["stubborn"]:
		f.drains.Store(true)
		f.say("TERM")
	case f.words["lingers"]:
		f.say("TERM")
		must(f.lock.Remove())
		must(f.lock.Close())
	default:
		f.say("TERM")
		f.end()
	}
}

// succeed starts a successor, and returns when it owns the service, or has.
func (f *fake) succeed(words ...string) (pid int) {
	conn, err := f.lock.SyscallConn()
	must(err)
	fd := -1
	must(conn.Control(func(old uintptr) { fd, err = syscall.Dup(int(old)) }))
	must(err)
	lock := os.NewFile(uintptr(fd), "lock")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "VERBS_WORDS=successor "+strings.Join(words, " "))
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = os.Stdin, os.Stdout, os.Stderr, []*os.File{lock}
	must(cmd.Start())
	must(lock.Close())
	exited := make(chan struct{})
	go func() {
		cmd.Wait()
		close(exited)
		if !f.words["stubborn"] {
			f.close()
		}
	}()
	for pid := 0; pid != cmd.Process.Pid; pid, _ = pidfile.Read(f.lock.Path()) {
		select {
		case <-time.After(time.Millisecond):
		case <-exited: // it was stopped at once
			return 0
		}
	}
	return cmd.Process.Pid
}

func (f *fake) say(what string) {
	if f.words["successor"] {
		what = "successor " + what
	}
	fmt.Println(what)
}

// end removes the pid file, and ends.
func (f *fake) end() {
	f.lock.Remove() // the test may have spoilt it
	f.close()
}

func (f *fake) close() { f.once.Do(func() { close(f.ended) }) }

// A result is what a verb did.
type result struct {
	t        *testing.T
	code     int
	out, err string
}

// exec runs a verb of the service in dir, in this process.
func do(t *testing.T, dir string, args ...string) *result {
	t.Helper()
	return doWith(t, serviceAt(dir), args...)
}

func doWith(t *testing.T, s *verbs.Service, args ...string) *result {
	t.Helper()
	var out, err bytes.Buffer
	code := s.Exec(t.Context(), args, &out, &err)
	return &result{t, code, out.String(), err.String()}
}

// doUntil runs a verb, and calls then once it has said a text on standard error.
func doUntil(t *testing.T, s *verbs.Service, text string, then func(), args ...string) *result {
	t.Helper()
	var out bytes.Buffer
	err := &listener{text: text, then: then}
	code := s.Exec(t.Context(), args, &out, err)
	if err.then != nil {
		t.Errorf("%q was not said", text)
	}
	return &result{t, code, out.String(), err.String()}
}

// A listener calls then, once, when it is told the text.
type listener struct {
	bytes.Buffer
	text string
	then func()
}

func (l *listener) Write(p []byte) (int, error) {
	n, err := l.Buffer.Write(p)
	if l.then != nil && strings.Contains(l.String(), l.text) {
		l.then()
		l.then = nil
	}
	return n, err
}

// user is a verb in a process of its own.
func user(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "VERBS_HELPER=verb", "VERBS_DIR="+dir, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// want checks the exit status, and that what was said has all the texts.
func (r *result) want(code int, texts ...string) *result {
	r.t.Helper()
	if r.code != code {
		r.t.Errorf("exit status %d, want %d; it said:\n%s%s", r.code, code, r.out, r.err)
	}
	for _, text := range texts {
		if !strings.Contains(r.out+r.err, text) {
			r.t.Errorf("%q is not in:\n%s%s", text, r.out, r.err)
		}
	}
	return r
}

// lacks checks that something was not said.
func (r *result) lacks(text string) *result {
	r.t.Helper()
	if strings.Contains(r.out+r.err, text) {
		r.t.Errorf("%q is in:\n%s%s", text, r.out, r.err)
	}
	return r
}

// object returns the one JSON object that is all of the output.
func (r *result) object() map[string]any {
	r.t.Helper()
	dec := json.NewDecoder(strings.NewReader(r.out))
	var v map[string]any
	if err := dec.Decode(&v); err != nil {
		r.t.Fatalf("%v in %q", err, r.out)
	}
	if dec.More() {
		r.t.Errorf("more than one object: %q", r.out)
	}
	if v["exit"] != float64(r.code) || v["ok"] != (r.code == 0) {
		r.t.Errorf("exit %v, ok %v, but the exit status is %d", v["exit"], v["ok"], r.code)
	}
	return v
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// temp is a directory that every user may search, with a short name: that of a socket must
// not be longer than 107 bytes.
func temp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "verbs")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	check(t, os.Chmod(dir, 0o755))
	return dir
}

func write(t *testing.T, path, content string) {
	t.Helper()
	check(t, os.WriteFile(path, []byte(content), 0o644))
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10s: %s", what)
		}
	}
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to play a second user")
	}
}
