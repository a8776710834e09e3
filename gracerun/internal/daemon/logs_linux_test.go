package daemon_test

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"

	"github.com/gracerun/grace/gracerun/internal/daemon"
)

// playLogs is a daemon whose outputs can be watched. It does what it reads from
// standard input, and answers on descriptor 3.
func playLogs() error {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // as a daemon has it
	var logs *daemon.Logs
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		verb, rest, _ := strings.Cut(in.Text(), " ")
		var err error
		switch verb {
		case "open": // ROOT OUTPUT ERROROUTPUT, "-" for none
			a := strings.Fields(rest)
			a = append(a, "-", "-")
			logs, err = daemon.OpenLogsIn(a[0], strings.Trim(a[1], "-"), strings.Trim(a[2], "-"), "svc")
		case "commit":
			err = logs.Commit()
		case "reopen":
			err = logs.Reopen()
		case "drop": // to another user
			err = syscall.Setuid(nobody)
		case "out":
			fmt.Println(rest)
		case "err":
			fmt.Fprintln(os.Stderr, rest)
		case "many": // N lines of 1,000 bytes
			var n int
			fmt.Sscan(rest, &n)
			for i := range n {
				fmt.Printf("%-999d\n", i)
			}
		case "long": // a line of N bytes
			var n int
			fmt.Sscan(rest, &n)
			fmt.Println("<3>" + strings.Repeat("x", n))
		case "command": // one that writes later, when FILE is gone, and then makes DONE
			cmd := exec.Command("sh", append([]string{"-c", `while test -e "$0"; do sleep 0.02; done; echo late; echo later && : >"$1"`}, strings.Fields(rest)...)...)
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			if err = cmd.Start(); err == nil {
				err = cmd.Process.Release()
			}
		case "successor": // it goes on with the talk when this process has ended
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), "DAEMON_HELPER=logs")
			cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = os.Stdin, os.Stdout, os.Stderr, []*os.File{os.NewFile(3, "answers")}
			if err = cmd.Start(); err == nil {
				answer("%d", cmd.Process.Pid)
				os.Exit(0)
			}
		case "have": // FILE and a socket, and both as C would have them
			for _, kind := range []string{"file", "socket"} {
				fd := -1
				if kind == "file" {
					fd, err = syscall.Open(rest, syscall.O_RDWR|syscall.O_CREAT|syscall.O_CLOEXEC, 0o600)
				} else {
					fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
				}
				if err == nil {
					_, err = syscall.Dup(fd)
				}
			}
		case "jail":
			err = syscall.Chroot(rest)
		case "fatal":
			log.Fatal(rest)
		case "exit":
			fmt.Fprintln(os.Stderr, rest)
			os.Exit(3)
		case "kill":
			fmt.Println(rest)
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		case "panic":
			panic(rest)
		case "throw":
			debug.SetMaxStack(1 << 20)
			var f func(int) int
			f = func(n int) int { return f(n+1) + 1 }
			f(0)
		}
		if err != nil {
			answer("%s; not there: %v, not allowed: %v", strings.ReplaceAll(err.Error(), "\n", " / "), errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission))
			continue
		}
		answer("ok")
	}
	return nil
}

// service begins a daemon whose outputs are a file, as the launcher leaves them.
func service(t *testing.T) (c *talk, stderr string) {
	t.Helper()
	stderr = filepath.Join(t.TempDir(), "stderr")
	f, err := os.OpenFile(stderr, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := helper(t, "logs")
	cmd.Stdout, cmd.Stderr = f, f
	return begin(t, cmd), stderr
}

// TestRotate is logrotate's move, and what follows.
func TestRotate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log := dir + "/log"
	c, _ := service(t)
	c.ok("open / %s", log)
	c.ok("out 1")
	c.ok("err 2")
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	c.ok("out 3") // not lost
	c.ok("reopen")
	c.ok("out 4")
	c.ok("err 5")
	c.ok("reopen") // nothing happened
	c.ok("out 6")
	if got := read(t, log+".1"); got != "1\n2\n3\n" {
		t.Errorf("the old file has %q", got)
	}
	if got := read(t, log); got != "4\n5\n6\n" {
		t.Errorf("the new file has %q", got)
	}
}

// TestTwoGenerations write into one file, and neither over the other.
func TestTwoGenerations(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var want strings.Builder
	c1, _ := service(t)
	c2, _ := service(t)
	for i, c := range []*talk{c1, c2} {
		c.ok("open / %s/out %s/err", dir, dir)
		c.ok("out %d", i)
	}
	for i := range 10 {
		c1.ok("out first %d", i)
		c2.ok("out second %d", i)
		c2.ok("err second %d", i)
		fmt.Fprintf(&want, "first %d\nsecond %d\n", i, i)
	}
	if got := read(t, dir+"/out"); got != "0\n1\n"+want.String() {
		t.Errorf("got %q", got)
	}
	if got := read(t, dir+"/err"); strings.Count(got, "\n") != 10 {
		t.Errorf("the errors are %q", got)
	}
}

// TestReopenFails: the old file goes on, and the reason is told. The other one is
// reopened.
func TestReopenFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir+"/d/out", "", 0o600)
	c, _ := service(t)
	c.ok("open / %s/d/out %s/err", dir, dir)
	if err := errors.Join(os.Rename(dir+"/d", dir+"/moved"), os.Rename(dir+"/err", dir+"/err.1")); err != nil {
		t.Fatal(err)
	}
	if got := c.do("reopen"); !strings.Contains(got, "not there: true") || !strings.Contains(got, dir+"/d/out") {
		t.Errorf("got %q", got)
	}
	c.ok("out text")
	c.ok("err text")
	if got := read(t, dir+"/moved/out") + read(t, dir+"/err"); got != "text\ntext\n" {
		t.Errorf("got %q", got)
	}
}

// TestReopenWithoutPrivileges works if logrotate creates the file for the user,
// and else says that it does not.
func TestReopenWithoutPrivileges(t *testing.T) {
	t.Parallel()
	root(t)
	dir := dir(t)
	log := dir + "/log"
	c, _ := service(t)
	c.ok("open / %s", log)
	if err := os.Chmod(log, 0o600); err != nil {
		t.Fatal(err)
	}
	c.ok("drop")
	c.ok("open / %s", log) // the next generation: it is open, though not for us
	c.ok("out 1")
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	if got := c.do("reopen"); !strings.Contains(got, "not allowed: true") || !strings.Contains(got, "user 54321") {
		t.Errorf("got %q", got)
	}
	c.ok("out 2")
	write(t, log, "", 0o640)
	if err := os.Chown(log, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	c.ok("reopen")
	c.ok("out 3")
	if got := read(t, log+".1") + read(t, log); got != "1\n2\n3\n" {
		t.Errorf("got %q", got)
	}
}

// TestMovedBeforeCommit is a rotation of which only the predecessor was told.
func TestMovedBeforeCommit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, _ := service(t)
	c.ok("open / %s/out %s/err", dir, dir)
	if err := os.Rename(dir+"/out", dir+"/out.1"); err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/out", "predecessor\n", 0o600)
	c.ok("out before")
	c.ok("commit")
	c.ok("out after")
	c.ok("err after")
	if got := read(t, dir+"/out.1"); got != "before\n" {
		t.Errorf("the old file has %q", got)
	}
	if got := read(t, dir+"/out") + read(t, dir+"/err"); got != "predecessor\nafter\nafter\n" {
		t.Errorf("the new files have %q", got)
	}
}

// TestOpenLogsFails for what is not there, and leaves the outputs as they were.
func TestOpenLogsFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, stderr := service(t)
	if got := c.do("open %s %s/no/log", dir, dir); !strings.Contains(got, "not there: true") {
		t.Errorf("got %q", got)
	}
	c.ok("err text")
	if got := read(t, stderr); got != "text\n" {
		t.Errorf("standard error has %q", got)
	}
}
