//go:build linux

package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/test/harness"
)

// daemon: the owner of the service is what a daemon has to be. The arguments say
// what has been asked for.
func (c call) daemon() {
	test, err := readProcess(os.Getpid())
	c.Check(err)
	var p process
	c.wait(func() (err error) { // the process between leaves when it sees that its launcher is dead
		p, err = readProcess(c.owner())
		if err == nil && p.parent != 1 && p.parent != test.pid {
			err = fmt.Errorf("its parent is %d", p.parent)
		}
		return err
	})
	switch {
	case p.session == p.pid:
		c.Fatalf("it leads its session, and could get a terminal")
	case p.session == test.session:
		c.Fatalf("it is in the session of whoever started it")
	case p.terminal != 0:
		c.Fatalf("its terminal is %d", p.terminal)
	}
	want := map[string]string{
		"dir": "/", "umask": "0022", "stdin": os.DevNull, "stdout": c.Getenv("HELLO_OUTPUT"),
		"ignored": "SIGTSTP SIGTTIN SIGTTOU", "caught": "SIGHUP SIGTERM",
	}
	for _, arg := range c.args {
		key, value, _ := strings.Cut(arg, "=")
		want[key] = value
	}
	want["stderr"] = want["stdout"]
	got := c.facts(p.pid)
	for key, value := range want {
		if got[key] != value {
			c.Fatalf("%s is %q, not %q", key, got[key], value)
		}
	}
	// The pipes of the hand-over are closed a moment after it.
	c.wait(func() error { return c.ownDescriptors(p.pid) })
}

// facts are what /proc shows of a daemon.
func (c call) facts(pid int) map[string]string {
	link := func(name string) string {
		target, err := os.Readlink(fmt.Sprintf("/proc/%d/%s", pid, name))
		c.Check(err)
		return target
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	c.Check(err)
	status := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		status[key] = strings.TrimSpace(value)
	}
	// Real, effective, saved and file system's: one number if they are equal.
	ids := func(key string) string { return strings.Join(slices.Compact(strings.Fields(status[key])), " ") }
	return map[string]string{
		"dir": link("cwd"), "umask": status["Umask"], "uid": ids("Uid"), "gid": ids("Gid"),
		"stdin": link("fd/0"), "stdout": link("fd/1"), "stderr": link("fd/2"),
		"ignored": signalNames(status["SigIgn"], unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU),
		"caught":  signalNames(status["SigCgt"], unix.SIGHUP, unix.SIGTERM),
	}
}

// signalNames are those of the signals that a mask has.
func signalNames(mask string, signals ...syscall.Signal) string {
	bits, _ := strconv.ParseUint(mask, 16, 64)
	var names []string
	for _, sig := range signals {
		if bits&(1<<(sig-1)) != 0 {
			names = append(names, unix.SignalName(sig))
		}
	}
	return strings.Join(names, " ")
}

// ownDescriptors: besides the standard three a daemon has files in its run
// directory, and what the runtime and the hand-over need. Nothing is of those who
// started it.
func (c call) ownDescriptors(pid int) error {
	fds, err := harness.OpenFDs(pid)
	if err != nil {
		return err
	}
	ours, err := harness.OpenFDs(os.Getpid())
	if err != nil {
		return err
	}
	for _, fd := range fds {
		foreign := false
		switch {
		case fd.Num <= 2:
		case fd.Kind == "file":
			// The Go runtime reads its limits in a control group again and again.
			foreign = filepath.Dir(fd.Target) != c.Getenv("HELLO_RUNDIR") && !strings.HasPrefix(fd.Target, "/sys/fs/cgroup/")
		case fd.Kind == "pipe":
			foreign = true
		case fd.Kind == "socket":
			foreign = slices.ContainsFunc(ours, func(o harness.FD) bool { return o.Target == fd.Target })
		}
		if foreign {
			return fmt.Errorf("descriptor %d is not its own:\n%s", fd.Num, fds.List())
		}
	}
	return nil
}
