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
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/pidfile"
	"github.com/gracerun/grace/test/harness"
)

// process is what /proc/PID/stat says of a process.
type process struct {
	pid                              int
	name, state                      string
	parent, group, session, terminal int
}

func (p process) String() string { return fmt.Sprintf("%s (pid %d, %s)", p.name, p.pid, p.state) }

// processes are those of the script: a variable in the environment, which all
// its descendants inherit, shows that they are. A zombie has none.
func (s *script) processes() []process {
	entries, _ := os.ReadDir("/proc")
	var list []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !s.owns(pid) {
			continue
		}
		if p, err := readProcess(pid); err == nil {
			list = append(list, p)
		}
	}
	return list
}

func (s *script) owns(pid int) bool {
	env, err := harness.Environ(pid)
	return err == nil && slices.Contains(env, s.mark)
}

func readProcess(pid int) (process, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, err
	}
	begin, end := strings.IndexByte(string(text), '('), strings.LastIndexByte(string(text), ')')
	p := process{pid: pid, name: string(text[begin+1 : end])}
	_, err = fmt.Sscan(string(text[end+1:]), &p.state, &p.parent, &p.group, &p.session, &p.terminal)
	return p, err
}

// waitGone returns the processes that are left after a while.
func (s *script) waitGone(patience time.Duration) []process {
	deadline := time.Now().Add(patience)
	for {
		left := s.processes()
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// end ends all processes of the script.
func (s *script) end() {
	for {
		left := s.processes()
		if len(left) == 0 {
			return
		}
		for _, p := range left {
			s.send(p.pid, syscall.SIGKILL)
		}
		time.Sleep(time.Millisecond)
	}
}

// stopped returns an error if a thread of the process does not stand still.
func stopped(pid int) error {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, name := range threads {
		if text, err := os.ReadFile(name); err == nil && !strings.Contains(string(text), ") T ") {
			return fmt.Errorf("it runs: %s", text)
		}
	}
	return err
}

// ended waits until a process has ended, of which a zombie may be left: its
// children have another parent then.
func (c call) ended() {
	pid, err := strconv.Atoi(c.args[0])
	c.Check(err)
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH {
		return
	}
	c.Check(os.NewSyscallError("pidfd_open", err))
	defer unix.Close(fd)
	c.wait(func() error {
		if n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0); n == 0 {
			return fmt.Errorf("pid %d is still there", pid)
		}
		return nil
	})
}

// gone: no process of the script is left, at this very moment.
func (c call) gone() {
	if left := c.processes(); len(left) > 0 {
		c.Fatalf("still there: %v", left)
	}
}

// owner is the process that the pid file names, and the lock proves.
func (c call) owner() int {
	pid, err := pidfile.Read(filepath.Join(c.Getenv("HELLO_RUNDIR"), "hello.pid"))
	c.Check(err)
	if pid == 0 {
		c.Fatalf("nobody holds the lock")
	}
	return pid
}

func (c call) pid() { c.Setenv(c.args[0], strconv.Itoa(c.owner())) }

// signal sends a signal to the owner of the service, or another process of the
// script.
func (c call) signal() {
	sig := unix.SignalNum("SIG" + c.args[0])
	if sig == 0 {
		c.Fatalf("no such signal")
	}
	pid := 0
	if len(c.args) > 1 {
		pid, _ = strconv.Atoi(c.args[1])
	} else {
		pid = c.owner()
	}
	c.Check(c.send(pid, sig))
	if sig == unix.SIGSTOP { // a thread that runs stops a moment later
		c.wait(func() error { return stopped(pid) })
	}
}

// send signals a process of the script, and no other.
func (s *script) send(pid int, sig syscall.Signal) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("pid %d: %w", pid, os.NewSyscallError("pidfd_open", err))
	}
	defer unix.Close(fd)
	if !s.owns(pid) { // the handle is older than the proof
		return fmt.Errorf("pid %d is not of this script", pid)
	}
	return os.NewSyscallError("pidfd_send_signal", unix.PidfdSendSignal(fd, sig, nil, 0))
}
