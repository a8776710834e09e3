//go:build linux

package verbs_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/pidfile"
)

func TestStop(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	d := launch(t, dir)
	do(t, dir, "stop").want(0, fmt.Sprintf("hello: stopped (pid %d) after ", d.pid))
	if got := d.rest(); !slices.Equal(got, []string{"TERM"}) {
		t.Errorf("the service heard %q, want one TERM", got)
	}
	if held, err := pidfile.Held(filepath.Join(dir, "hello.pid")); held || err != nil {
		t.Errorf("the lock: %v, %v", held, err)
	}
	do(t, dir, "stop").want(0, "hello: not running\n")
}

// TestStopNotRunning tidies up what a crash left, and makes nothing.
func TestStopNotRunning(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	do(t, dir, "stop").want(0, "hello: not running\n")
	pid := filepath.Join(dir, "hello.pid")
	write(t, pid, fmt.Sprintln(os.Getpid())) // a stranger has the number now
	do(t, dir, "stop").want(0, "not running")
	if exists(pidfile.LockPath(pid)) {
		t.Error("a lock file was made, which may be the wrong user's")
	}
	write(t, pidfile.LockPath(pid), "")
	do(t, dir, "stop").want(0, "not running")
	if exists(pid) {
		t.Error("the stale pid file is still there")
	}
	write(t, pid, "1\n")
	check(t, os.Chmod(pid, 0o666))
	do(t, dir, "stop").want(0, "not running", "the pid file is left", "0666")
}

// TestStopEscalates: a service that does not hear TERM, and one that is stopped.
func TestStopEscalates(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	d := launch(t, dir, "stubborn")
	halt(t, d.cmd.Process)
	r := do(t, dir, "stop", "--schedule", "TERM/1/KILL/5")
	r.want(0, "not stopped within 1s: sending SIGKILL", fmt.Sprintf("hello: killed (pid %d)", d.pid), "is lost")
	if got := d.rest(); !slices.Equal(got, []string{"TERM"}) {
		t.Errorf("the service heard %q: one TERM, and it was continued", got)
	}
	if exists(filepath.Join(dir, "hello.pid")) {
		t.Error("the pid file of the dead is still there")
	}
	do(t, dir, "status").want(3)
}

func TestStopTimeout(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	launch(t, dir, "stubborn")
	do(t, dir, "stop", "--timeout", "200ms").want(0, "not stopped within 200ms: sending SIGKILL", "killed")
	do(t, dir, "stop", "--timeout=1s", "--schedule=5").want(2, "use one of them")
}

// TestStopWaitsForProcess: what has let go of the lock may have more to do, but not for
// ever.
func TestStopWaitsForProcess(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	d := launch(t, dir, "lingers")
	waiting := fmt.Sprintf("hello: the service has ended, waiting for pid %d to exit, ", d.pid)
	doUntil(t, serviceAt(dir), waiting, func() { d.send("exit") }, "stop").want(0, "hello: stopped")
	if got := d.rest(); !slices.Equal(got, []string{"TERM"}) {
		t.Errorf("the service heard %q, want one TERM", got)
	}
	d = launch(t, dir, "lingers")
	do(t, dir, "stop", "--timeout", "200ms").want(0, "sending SIGKILL", fmt.Sprintf("hello: killed (pid %d)", d.pid))
	d = launch(t, dir, "lingers")
	do(t, dir, "stop", "--schedule", "TERM/1").want(1, fmt.Sprintf("the service has ended, but pid %d has not exited", d.pid))
}

// TestStopGivesUp when the schedule is over, and names who has the lock.
func TestStopGivesUp(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	d := launch(t, dir, "stubborn")
	r := doUntil(t, serviceAt(dir), "sending SIGUSR1", func() { d.expect("TERM") }, "stop", "--schedule", "TERM/0/USR1/0/-CONT/0", "--json")
	if r.want(1, "still held", fmt.Sprintf("pid %d", d.pid)).object()["state"] != "draining" {
		t.Errorf("state is not that of a service that runs: %s", r.out)
	}
}

// TestStopSuccessor: the TERM that reaches a process which has just handed over stops
// nothing, so its successor gets one, too; and nobody gets two.
func TestStopSuccessor(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	d := launch(t, dir, "gradual")
	do(t, dir, "stop").want(0, "hello: stopped (pid ").lacks("KILL")
	if got := d.rest(); !slices.Equal(got, []string{"TERM", "successor ready", "successor TERM"}) {
		t.Errorf("the services heard %q", got)
	}
}

// TestStopSparesNext: who was started while it waited for another has nothing to do with
// it.
func TestStopSparesNext(t *testing.T) {
	t.Parallel()
	for _, words := range []string{"nopid nosocket", ""} { // it is starting, and it runs
		dir := temp(t)
		d := launch(t, dir, "stubborn")
		stop := user(dir, "stop")
		var said bytes.Buffer
		stop.Stdout, stop.Stderr = &said, &said
		check(t, stop.Start())
		d.expect("TERM")
		halt(t, stop.Process) // it does not see the lock go free
		d.send("end")
		check(t, d.cmd.Wait())
		check(t, os.Remove(filepath.Join(dir, "hello.sock")))
		next := launch(t, dir, strings.Fields(words)...)
		check(t, stop.Process.Signal(syscall.SIGCONT))
		if err := stop.Wait(); err != nil || !strings.HasPrefix(said.String(), fmt.Sprintf("hello: stopped (pid %d)", d.pid)) {
			t.Errorf("%v: %s", err, said.String())
		}
		next.send("end")
		if got := next.rest(); len(got) > 0 {
			t.Errorf("the next service heard %q", got)
		}
	}
}

// TestStopWithoutPIDFile finds the service by its control socket, then by the lock.
func TestStopWithoutPIDFile(t *testing.T) {
	t.Parallel()
	for _, words := range []string{"nopid", "nopid nosocket"} {
		dir := temp(t)
		d := launch(t, dir, strings.Fields(words)...)
		do(t, dir, "stop").want(0, fmt.Sprintf("stopped (pid %d)", d.pid))
		if got := d.rest(); !slices.Equal(got, []string{"TERM"}) {
			t.Errorf("the service heard %q", got)
		}
	}
}

// TestStopDistrustsPIDFile: what the file says counts for nothing, and nobody is hit who
// does not hold the lock.
func TestStopDistrustsPIDFile(t *testing.T) {
	t.Parallel()
	stranger := exec.Command("sleep", "60")
	check(t, stranger.Start())
	t.Cleanup(func() { stranger.Process.Kill(); stranger.Wait() })
	files := map[string]string{
		"another": fmt.Sprintln(stranger.Process.Pid), "group": fmt.Sprintln(-stranger.Process.Pid), "junk": "junk", "empty": "", "init": "1\n",
	}
	for _, mode := range []os.FileMode{0o644, 0o666} {
		for name, content := range files {
			dir := temp(t)
			d := launch(t, dir, "nopid", "nosocket")
			path := filepath.Join(dir, "hello.pid")
			write(t, path, content)
			check(t, os.Chmod(path, mode))
			do(t, dir, "stop").want(0, "the pid file", fmt.Sprintf("stopped (pid %d)", d.pid))
			if got := d.rest(); !slices.Equal(got, []string{"TERM"}) {
				t.Errorf("%s: the service heard %q", name, got)
			}
		}
	}
	if err := stranger.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the stranger: %v", err)
	}
}

// TestStopCrashed tidies up after a service that ended without doing so.
func TestStopCrashed(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	d := launch(t, dir, "stubborn")
	cmd := user(dir, "stop")
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	d.expect("TERM")
	d.send("let go")
	lines := bufio.NewScanner(out)
	if !lines.Scan() || !strings.HasPrefix(lines.Text(), fmt.Sprintf("hello: stopped (pid %d)", d.pid)) {
		t.Errorf("it said %q", lines.Text())
	}
	check(t, cmd.Wait())
	if exists(filepath.Join(dir, "hello.pid")) {
		t.Error("the pid file is still there")
	}
}

// TestStopUnlocked: a service whose lock file was deleted proves nothing, but it can be
// asked.
func TestStopUnlocked(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	d := launch(t, dir, "unlocked")
	do(t, dir, "status").want(0, "was it deleted?")
	do(t, dir, "start").want(0, "was it deleted?", fmt.Sprintf("already running (pid %d)", d.pid))
	do(t, dir, "stop").want(0, "stopped")
	if got := d.rest(); !slices.Equal(got, []string{"stop"}) {
		t.Errorf("the service heard %q", got)
	}
}

// TestStopKillsAll who hold the lock.
func TestStopKillsAll(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	d := launch(t, dir, "stubborn", "gradual")
	until(t, "two generations", func() bool {
		if pids, _ := pidfile.Holders(filepath.Join(dir, "hello.pid")); len(pids) == 1 {
			d.cmd.Process.Signal(syscall.SIGTERM)
			d.expect("TERM")
		}
		pids, _ := pidfile.Holders(filepath.Join(dir, "hello.pid"))
		return len(pids) == 2
	})
	do(t, dir, "stop", "--schedule", "KILL/5").want(0, "killed (pids ", strconv.Itoa(d.pid))
	// A process that a parallel test is just starting has this one's descriptors.
	until(t, "the lock is free", func() bool { return do(t, dir, "status").code == 3 })
}

// TestStopInterrupted: Ctrl-C ends the waiting, not the stopping.
func TestStopInterrupted(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	d := launch(t, dir, "stubborn")
	cmd := user(dir, "stop")
	stderr, err := cmd.StderrPipe()
	check(t, err)
	check(t, cmd.Start())
	d.expect("TERM")
	lines := bufio.NewScanner(stderr)
	// The service gives itself more time than this program would give it.
	want := regexp.MustCompile(fmt.Sprintf("^hello: waiting for pid %d: http 2, (1m0|5.)s left$", d.pid))
	if !lines.Scan() || !want.MatchString(lines.Text()) {
		t.Errorf("%q, want %v", lines.Text(), want)
	}
	check(t, cmd.Process.Signal(os.Interrupt))
	if !lines.Scan() || !strings.Contains(lines.Text(), fmt.Sprintf("no longer waiting for pid %d, which goes on stopping; see: hello status", d.pid)) {
		t.Errorf("it said %q", lines.Text())
	}
	exit := new(exec.ExitError)
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("%v, want exit status 1", err)
	}
	d.send("end")
	if got := d.rest(); len(got) > 0 {
		t.Errorf("the service heard %q more", got)
	}
}

// TestStopAsAnotherUser may not.
func TestStopAsAnotherUser(t *testing.T) {
	t.Parallel()
	needRoot(t)
	dir := temp(t)
	d := launch(t, dir)
	cmd := user(dir, "stop")
	cmd.Env = append(cmd.Env, "VERBS_NOBODY=1")
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 4 || !strings.Contains(string(out), fmt.Sprintf("pid %d may only be told by its own user or root", d.pid)) {
		t.Errorf("exit status %d: %s", code, out)
	}
	d.send("end")
	if got := d.rest(); len(got) > 0 {
		t.Errorf("the service heard %q", got)
	}
}

// TestStopSharedLock is root in a user's directory: the user has sent the lock to a process
// of somebody else, and that one is not to be hit.
func TestStopSharedLock(t *testing.T) {
	t.Parallel()
	needRoot(t)
	dir := temp(t)
	launch(t, dir, "nopid", "nosocket", "stubborn") // root's
	check(t, os.Chown(dir, nobody, nobody))
	began := time.Now()
	do(t, dir, "stop", "--schedule", "KILL/60").want(1, "nobody was signalled")
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v to see that", took)
	}
}
