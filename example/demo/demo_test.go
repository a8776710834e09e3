//go:build linux

package main_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("the whole demo takes about 15 s")
	}
	t.Parallel()
	d := goRun(t)
	d.start()
	text, err := io.ReadAll(d.out)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("%v", err)
	}
	for _, want := range []string{
		"26 clients kept a service busy while it was replaced 10 times: nothing was lost.",
		" answered, 0 failed",
		"10 done by kill -HUP: pid ",
		"3 new programs that were broken",
		"the child ended with exit status 3; its last lines: ", // among which one of an older generation may be
		"open settings.yaml: no such file or directory",
		"not serving after 500ms",
		"panic: the price list is empty",
		" requests in its hands ended with it: not counted above)",
		"\n  steady ", "\n  upgrading ",
		"^ upgrade, x refused one",
		"No process and no file is left.",
	} {
		if !strings.Contains(unwrap(text), unwrap([]byte(want))) {
			t.Errorf("the output lacks %q", want)
		}
	}
	for _, no := range []string{"\x1b", "\r"} {
		if bytes.Contains(text, []byte(no)) {
			t.Errorf("the output has %q although it goes to no terminal", no)
		}
	}
	d.gone()
	if t.Failed() {
		t.Logf("%s\n%s", text, d.errors.String())
	}
}

// unwrap makes one line of a text, with single spaces.
func unwrap(text []byte) string { return strings.Join(strings.Fields(string(text)), " ") }

// However it is ended, and whenever: nothing is left.
func TestEndedEarly(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		when string // it has written this
		end  func(d *demo) error
		says string
	}{
		{"Ctrl-C", "upgraded in", func(d *demo) error { return syscall.Kill(-d.pid(), syscall.SIGINT) }, "interrupt"},
		{"Ctrl-C in the build", "building", func(d *demo) error { return syscall.Kill(-d.pid(), syscall.SIGINT) }, "interrupt"},
		{"Ctrl-C twice", "listens on", func(d *demo) error {
			syscall.Kill(-d.pid(), syscall.SIGINT)
			return syscall.Kill(-d.pid(), syscall.SIGINT)
		}, "interrupt"},
		{"SIGTERM to go run alone", "listens on", func(d *demo) error { return d.cmd.Process.Signal(syscall.SIGTERM) }, "is gone"},
		{"the reader leaves", "listens on", func(d *demo) error { return d.out.Close() }, "broken pipe"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if testing.Short() && tt.name != "Ctrl-C" {
				t.Skip("one way to end it is enough for -short")
			}
			t.Parallel()
			d := goRun(t)
			d.start()
			d.await(tt.when)
			if err := tt.end(d); err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, d.out)
			err := d.cmd.Wait()
			d.gone()
			if err == nil {
				t.Error("the exit status is 0")
			}
			if text := d.errors.String(); !strings.Contains(text, tt.says) {
				t.Errorf("standard error does not say %q: %s", tt.says, text)
			}
		})
	}
}

// On a terminal there is a line that changes; when the terminal goes away, so
// does everything else.
func TestTerminal(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes about 5 s")
	}
	t.Parallel()
	// Caught here, the signal has its default in what is started. Under nohup it
	// would be ignored there, also by "go run".
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	master, slave := openTerminal(t)
	d := goRun(t)
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	d.cmd.Stdin, d.cmd.Stdout, d.cmd.Stderr = slave, slave, slave
	d.cmd.Env = append(d.cmd.Env, "TERM=xterm")
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	d.out = master
	d.await("\r[#") // an upgrade
	master.Close()
	if err := d.cmd.Wait(); err == nil {
		t.Error("the exit status is 0")
	}
	d.gone()
}

// openTerminal returns both ends of a new pseudoterminal, see pty(7).
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudoterminal: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80})
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// A demo is "go run ./example/demo", in a process group of its own.
type demo struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    io.ReadCloser
	errors bytes.Buffer
	tmp    string // for its temporary files
	mark   string // in the environment of all that it starts
}

func goRun(t *testing.T) *demo {
	d := &demo{t: t, cmd: exec.Command("go", "run", "./example/demo"), tmp: t.TempDir(), mark: "DEMO_TEST=" + rand.Text()}
	d.cmd.Dir = filepath.Join("..", "..")
	d.cmd.Env = append(os.Environ(), "TMPDIR="+d.tmp, d.mark)
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	d.cmd.Stderr = &d.errors
	return d
}

func (d *demo) start() {
	d.t.Helper()
	var err error
	if d.out, err = d.cmd.StdoutPipe(); err != nil {
		d.t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
}

func (d *demo) pid() int { return d.cmd.Process.Pid }

// await reads the output until this comes.
func (d *demo) await(text string) {
	d.t.Helper()
	r := bufio.NewReader(d.out)
	var all []byte
	for !bytes.HasSuffix(all, []byte(text)) {
		c, err := r.ReadByte()
		if err != nil {
			d.cmd.Wait()
			d.t.Fatalf("no %q: %v\n%s%s", text, err, all, d.errors.String())
		}
		all = append(all, c)
	}
}

// gone waits until no process is left, and checks that no file is.
func (d *demo) gone() {
	d.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for left := d.processes(); len(left) > 0; left = d.processes() {
		if time.Now().After(deadline) {
			d.t.Errorf("still there, and killed: %v", left)
			for _, pid := range left {
				syscall.Kill(pid, syscall.SIGKILL)
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	files, err := filepath.Glob(filepath.Join(d.tmp, "*"))
	if err != nil {
		d.t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(name string) bool {
		return strings.HasPrefix(filepath.Base(name), "go-build") // go run's own, when it was killed
	})
	if len(files) > 0 {
		d.t.Errorf("files are left: %v", files)
	}
}

// processes returns the pids of all that the demo has started, itself included.
func (d *demo) processes() (pids []int) {
	d.t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		d.t.Fatal(err)
	}
	for _, name := range all {
		env, err := os.ReadFile(name)
		if err != nil || !slices.Contains(strings.Split(string(env), "\x00"), d.mark) {
			continue // gone, or not ours
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err != nil {
			d.t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}
