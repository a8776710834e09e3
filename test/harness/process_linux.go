package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func adoptOrphans() error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
}

// keepOwn lets no child inherit what this process itself has inherited.
func keepOwn() error {
	return os.NewSyscallError("close_range", unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC))
}

func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// Processes returns the living processes of the service by pid. Zombies among
// our own children are reaped first.
func (s *Service) Processes() ([]Process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var list []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		p, err := s.process(pid)
		if err != nil || p.State == 'Z' && p.Parent == os.Getpid() && s.reap(pid) {
			continue // not ours, or gone
		}
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b Process) int { return a.PID - b.PID })
	return list, nil
}

var errNotOurs = errors.New("not a process of this service")

// process returns an error if pid is not of the service. The variable in its
// environment proves that it is. A zombie, or a process in the middle of
// execve(2), has no environment, but its group. A program that writes its title
// over its environment, as nginx does, has the private directory as its working directory.
func (s *Service) process(pid int) (Process, error) {
	p, err := readStat(pid)
	if err != nil {
		return p, err
	}
	env, err := Environ(pid)
	if err != nil && !errors.Is(err, syscall.ESRCH) { // it has no memory any more
		return p, err
	}
	ours := slices.Contains(env, s.mark)
	switch {
	case ours:
	case len(env) == 0:
		ours = s.knows(p.Group)
	case !slices.ContainsFunc(env, isVariable):
		dir, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
		ours = dir == s.Root
	}
	if !ours {
		return p, errNotOurs
	}
	s.remember(p.Group)
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	p.Args = splitNul(args)
	return p, err
}

func isVariable(s string) bool { return strings.Contains(s, "=") }

// readStat reads /proc/PID/stat, see proc_pid_stat(5). The name of the program
// is in parentheses and may contain any.
func readStat(pid int) (p Process, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return p, err
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	const begin = 22 // the first field here is the third
	if len(fields) <= begin-3 {
		return p, fmt.Errorf("/proc/%d/stat: %q", pid, text)
	}
	p.PID, p.State = pid, fields[0][0]
	p.Parent, err = strconv.Atoi(string(fields[1]))
	if err == nil {
		p.Group, err = strconv.Atoi(string(fields[2]))
	}
	if err == nil {
		p.begin, err = strconv.ParseUint(string(fields[begin-3]), 10, 64)
	}
	return p, err
}

// begun tells a process from others that have its pid later; 0: it is gone.
func begun(pid int) uint64 {
	p, _ := readStat(pid)
	return p.begin
}

// reap takes the status of a dead child and reports whether it is gone now.
func (s *Service) reap(pid int) bool {
	var ws syscall.WaitStatus
	got, err := syscall.Wait4(pid, &ws, syscall.WNOHANG, nil)
	if err != nil || got != pid {
		return errors.Is(err, syscall.ECHILD) // somebody else was faster
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exits[pid] = ws
	return true
}

// Signal sends a signal to a process of the service, and to no other.
func (s *Service) Signal(pid int, sig syscall.Signal) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("pid %d: %w", pid, os.NewSyscallError("pidfd_open", err))
	}
	defer unix.Close(fd)
	if _, err := s.process(pid); err != nil { // the handle is older than the proof
		return fmt.Errorf("pid %d: %w", pid, err)
	}
	return os.NewSyscallError("pidfd_send_signal", unix.PidfdSendSignal(fd, sig, nil, 0))
}

// SignalGroup sends a signal to all processes of the service that are in the
// group it was started in, as a terminal does.
func (s *Service) SignalGroup(sig syscall.Signal) error {
	all, err := s.Processes()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(p Process) bool { return p.Group == s.First }) {
		return fmt.Errorf("group %d: %w", s.First, os.ErrProcessDone)
	}
	return os.NewSyscallError("kill", syscall.Kill(-s.First, sig))
}

// Exited waits until a process of the service has exited.
func (s *Service) Exited(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("pid %d: %w", pid, os.NewSyscallError("pidfd_open", err))
	}
	defer unix.Close(fd)
	set := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(set, int((20 * time.Millisecond).Milliseconds()))
		if n > 0 {
			s.reap(pid) // not ours if its parent lives
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("poll", err)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("harness: pid %d has not exited: %w", pid, context.Cause(ctx))
		}
	}
}

// Dump has every process of the service print its goroutines, which ends them
// (SIGQUIT), and returns the log: for a service that hangs.
func (s *Service) Dump(ctx context.Context) string {
	all, _ := s.Processes()
	for _, p := range all {
		s.Signal(p.PID, syscall.SIGQUIT)
		s.Signal(p.PID, syscall.SIGCONT)
	}
	for _, p := range all {
		s.Exited(ctx, p.PID)
	}
	return s.Log()
}

// Status returns how a process ended that was reaped here: the first one, or an
// orphan.
func (s *Service) Status(pid int) (ws syscall.WaitStatus, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ws, ok = s.exits[pid]
	return ws, ok
}

// Environ returns the environment that a process was started with, which is empty
// for a moment after the execve(2) that [os.StartProcess] waits for. The whole of it
// ends with a zero. The kernel (Linux 6.18) at times gives only the beginning, of a
// process that lives on: then it is asked again, but not for ever, since a program
// may have written something else over it.
func Environ(pid int) ([]string, error) {
	var text []byte
	var err error
	for range 10 {
		text, err = os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil || len(text) == 0 || text[len(text)-1] == 0 {
			break
		}
	}
	return splitNul(text), err
}

func splitNul(text []byte) []string {
	if len(text) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
}
