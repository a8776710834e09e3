package daemon_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// text is the line that comes next, without what goes before it.
func (l *listener) text() string {
	l.t.Helper()
	_, text, _ := strings.Cut(strings.TrimSuffix(l.next(), "\n"), "MESSAGE=")
	return text
}

// expect reads lines until one is want.
func (l *listener) expect(want string) {
	l.t.Helper()
	for l.text() != want {
	}
}

// nothing comes, of what was written by now.
func (l *listener) nothing() {
	l.t.Helper()
	l.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	b := make([]byte, 1<<10)
	if n, _, err := l.conn.ReadFrom(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		l.t.Errorf("%q came, %v", b[:n], err)
	}
}

// eventually waits for what other processes do.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func link(pid, fd int) string {
	target, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd))
	return target
}

// processes that f is true for.
func processes(f func(pid int) bool) (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && f(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// open is what a process has open, but for what has no name, or is the Go runtime's
// own.
func open(pid int) (list []string) {
	entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	for _, e := range entries {
		fd, _ := strconv.Atoi(e.Name())
		if to := link(pid, fd); to != os.DevNull && !strings.HasPrefix(to, "anon_inode:") && !strings.HasPrefix(to, "/sys/") {
			list = append(list, to)
		}
	}
	return list
}

// forwarder is the one process that reads what pid writes.
func forwarder(t *testing.T, pid int) int {
	t.Helper()
	theirs := open(pid)
	found := processes(func(p int) bool {
		pipe := link(p, 0)
		return p != pid && strings.HasPrefix(pipe, "pipe:") && slices.Contains(theirs, pipe)
	})
	if len(found) != 1 {
		t.Fatalf("%d read what process %d writes", found, pid)
	}
	return found[0]
}

// status is a line of /proc/PID/status.
func status(pid int, key string) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func journal(t *testing.T) (dir string, l *listener) {
	t.Helper()
	dir = t.TempDir()
	return dir, listen(t, dir+journalSocket)
}

// TestLastWords arrive, however a process ends.
func TestLastWords(t *testing.T) {
	t.Parallel()
	tests := []struct{ how, want string }{
		{"exit", "the disk is full"},
		{"kill", "the disk is full"},
		{"panic", "panic: the disk is full"},
		{"throw", "fatal error: stack overflow"},
		{"fatal", time.Now().Format("2006/01/02 ")},
	}
	for _, tt := range tests {
		dir, l := journal(t)
		c, _ := service(t)
		c.ok("open %s journal", dir)
		c.say("%s the disk is full", tt.how)
		c.cmd.Wait()
		for !strings.HasPrefix(l.text(), tt.want) {
		}
	}
}

// TestOrder of what goes to both outputs is kept.
func TestOrder(t *testing.T) {
	t.Parallel()
	dir, l := journal(t)
	c, _ := service(t)
	c.ok("open %s journal", dir)
	for i := range 20 {
		c.ok("%s %d", []string{"out", "err"}[i%2], i)
	}
	for i := range 20 {
		if got := l.text(); got != strconv.Itoa(i) {
			t.Fatalf("line %d is %q", i, got)
		}
	}
}

// TestGenerations have one forwarder, which ends with the last of them.
func TestGenerations(t *testing.T) {
	t.Parallel()
	dir, l := journal(t)
	c, _ := service(t)
	c.ok("open %s journal", dir)
	pid := c.cmd.Process.Pid
	first := forwarder(t, pid)
	for i := range 3 {
		c.ok("out generation %d", i)
		l.expect(fmt.Sprintf("generation %d", i))
		var err error
		if pid, err = strconv.Atoi(c.do("successor")); err != nil {
			t.Fatal(err)
		}
		c.ok("err before it opens its logs")
		l.expect("before it opens its logs")
		c.ok("open %s journal", dir)
		c.ok("commit")
		if got := forwarder(t, pid); got != first {
			t.Errorf("the forwarder is %d, it was %d", got, first)
		}
	}
	c.say("exit the end")
	l.expect("the end")
	eventually(t, "the forwarder ends", func() bool { return link(first, 0) == "" })
}

// TestForwarderIsApart: it has nothing of the daemon, and no part in its life.
func TestForwarderIsApart(t *testing.T) {
	t.Parallel()
	dir, l := journal(t)
	c, _ := service(t)
	c.ok("have %s/file", dir)
	c.ok("open %s journal", dir)
	c.ok("out text")
	l.expect("text")
	daemon := c.cmd.Process.Pid
	pid := forwarder(t, daemon)
	ours, theirs := open(daemon), open(pid)
	if !slices.Contains(ours, dir+"/file") || len(theirs) != 2 || theirs[0] != link(daemon, 1) || slices.Contains(ours, theirs[1]) {
		t.Errorf("the daemon has %q, the forwarder %q: the pipe, and a socket of its own", ours, theirs)
	}
	if dir, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); dir != "/" {
		t.Errorf("its directory is %s", dir)
	}
	sid, _ := unix.Getsid(pid)
	if own, _ := unix.Getsid(daemon); sid == own || sid == pid {
		t.Errorf("session %d of process %d; the daemon's is %d", sid, pid, own)
	}
	if children := processes(func(p int) bool { return status(p, "PPid") == strconv.Itoa(daemon) }); children != nil {
		t.Errorf("the daemon has children %d", children)
	}
	if comm := status(pid, "Name"); comm != "svc: log to jou" {
		t.Errorf("it is called %q", comm)
	}
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1} {
		if err := syscall.Kill(pid, sig); err != nil {
			t.Fatal(err)
		}
		c.ok("out after %v", sig)
		l.expect("after " + sig.String())
	}
}

// TestForwarderIsKilled costs lines, and neither the service nor what comes after
// the next chance to start another.
func TestForwarderIsKilled(t *testing.T) {
	t.Parallel()
	dir, l := journal(t)
	c, _ := service(t)
	c.ok("open %s journal", dir)
	pid := c.cmd.Process.Pid
	kill := func() {
		old := forwarder(t, pid)
		fd, err := unix.PidfdOpen(old, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
			t.Fatal(err)
		}
		unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000) // then its threads are gone, too
		c.ok("out to nobody")
	}
	kill()
	c.ok("reopen")
	c.ok("out reopened")
	l.expect("reopened")
	kill()
	if _, err := strconv.Atoi(c.do("successor")); err != nil {
		t.Fatal(err)
	}
	c.ok("err to nobody, either")
	c.ok("open %s journal", dir)
	c.ok("out next generation")
	l.expect("next generation")
}

// TestCommandOutlivesGeneration, and goes on writing.
func TestCommandOutlivesGeneration(t *testing.T) {
	t.Parallel()
	dir, l := journal(t)
	write(t, dir+"/wait", "", 0o600)
	c, _ := service(t)
	c.ok("open %s journal", dir)
	c.ok("command %s/wait %s/done", dir, dir)
	c.say("exit now")
	c.cmd.Wait()
	if err := os.Remove(dir + "/wait"); err != nil {
		t.Fatal(err)
	}
	l.expect("late")
	l.expect("later")
	eventually(t, "the command lives", func() bool { _, err := os.Stat(dir + "/done"); return err == nil })
}

// firstGeneration has the launcher's memory in the place of its outputs.
func firstGeneration(t *testing.T) (c *talk, memory *os.File) {
	t.Helper()
	fd, err := unix.MemfdCreate("output", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	memory = os.NewFile(uintptr(fd), "output")
	t.Cleanup(func() { memory.Close() })
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, unix.O_APPEND); err != nil {
		t.Fatal(err)
	}
	cmd := helper(t, "logs")
	cmd.Stdout, cmd.Stderr = memory, memory
	return begin(t, cmd), memory
}

// TestFirstGeneration writes for the launcher until the commit; then all of it is
// sent.
func TestFirstGeneration(t *testing.T) {
	t.Parallel()
	dir, l := journal(t)
	c, memory := firstGeneration(t)
	c.ok("err 1")
	c.ok("open %s journal", dir)
	c.ok("reopen") // changes nothing
	c.ok("out 2")
	if got := read(t, fmt.Sprintf("/proc/self/fd/%d", memory.Fd())); got != "1\n2\n" {
		t.Errorf("the launcher has %q", got)
	}
	l.nothing()
	c.ok("commit")
	c.ok("out 3")
	for _, want := range []string{"1", "2", "3"} {
		if got := l.text(); got != want {
			t.Errorf("got %q, want %s", got, want)
		}
	}
	if got := read(t, fmt.Sprintf("/proc/self/fd/%d", memory.Fd())); got != "1\n2\n" {
		t.Errorf("the launcher has %q", got)
	}
}

// TestFirstGenerationFails: no forwarder stays.
func TestFirstGenerationFails(t *testing.T) {
	t.Parallel()
	dir, l := journal(t)
	c, memory := firstGeneration(t)
	c.ok("open %s journal", dir)
	pid := forwarder(t, c.cmd.Process.Pid)
	c.say("fatal the price list is empty")
	c.cmd.Wait()
	if got := read(t, fmt.Sprintf("/proc/self/fd/%d", memory.Fd())); !strings.HasSuffix(got, "the price list is empty\n") {
		t.Errorf("the launcher has %q", got)
	}
	eventually(t, "the forwarder ends", func() bool { return link(pid, 0) == "" })
	l.nothing()
}

// TestTwoServices have a forwarder each, and the first lines go where errors go.
func TestTwoServices(t *testing.T) {
	t.Parallel()
	dir, l := journal(t)
	s := listen(t, dir+syslogSocket)
	c, _ := firstGeneration(t)
	c.ok("out early")
	c.ok("open %s journal syslog", dir)
	c.ok("commit")
	c.ok("out output")
	c.ok("err error")
	if got := l.text(); got != "output" {
		t.Errorf("the journal has %q", got)
	}
	for _, want := range []string{"early", "error"} {
		if got := s.next(); !strings.HasSuffix(got, " svc: "+want) {
			t.Errorf("syslog has %q, not %s", got, want)
		}
	}
}

// TestOutputChanges with an upgrade.
func TestOutputChanges(t *testing.T) {
	t.Parallel()
	dir, l := journal(t)
	s := listen(t, dir+syslogSocket)
	c, _ := service(t)
	for _, next := range []struct {
		output string
		come   func() string
	}{
		{"journal", l.next},
		{"syslog", s.next},
		{dir + "/log", func() string { return read(t, dir+"/log") }},
		{"journal", l.next},
		{dir + "/log journal", l.next},
		{"journal", l.next},
	} {
		c.ok("open %s %s", dir, next.output)
		c.ok("commit")
		c.ok("err to %s", next.output)
		if got := next.come(); !strings.HasSuffix(strings.TrimSpace(got), "to "+next.output) {
			t.Errorf("%s: got %q", next.output, got)
		}
		if _, err := strconv.Atoi(c.do("successor")); err != nil {
			t.Fatal(err)
		}
	}
	c.ok("out text")
	l.expect("text")
}

// TestServiceIsAway when the forwarder starts: lines wait.
func TestServiceIsAway(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, _ := service(t)
	c.ok("open %s syslog", dir)
	c.ok("out text")
	l := listen(t, dir+syslogSocket)
	if got := l.next(); !strings.HasSuffix(got, " svc: text") {
		t.Errorf("got %q", got)
	}
}

// TestForwarderCannotStart where the program is not: the outputs stay as they are.
func TestForwarderCannotStart(t *testing.T) {
	t.Parallel()
	root(t)
	dir := t.TempDir()
	c, stderr := service(t)
	c.ok("jail %s", dir)
	if got := c.do("open / journal"); !strings.HasPrefix(got, "journal: the process that forwards lines: ") || !strings.Contains(got, "not there: true") {
		t.Errorf("got %q", got)
	}
	c.ok("err text")
	if got := read(t, stderr); got != "text\n" {
		t.Errorf("standard error has %q", got)
	}
}

// TestLeakedVariable makes no forwarder of a service, and it still can start one.
func TestLeakedVariable(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"between", "forwarder", "1"} {
		dir, l := journal(t)
		c := begin(t, helper(t, "logs", "GRACERUN_FORWARDER="+part))
		c.ok("open %s journal", dir)
		c.ok("out text")
		l.expect("text")
	}
}
