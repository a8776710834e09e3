package handoff

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/gracerun/internal/handoff/early"
)

// BecomeAnchor has this process, and so its pid, stay over all upgrades, and the
// service run in a child of it: it executes itself, and package early does the rest.
// It returns only with an error. Nothing may have been begun: what runs in this
// process is lost, and what main did before is done once more in the child.
//
// While it executes itself, INT and TERM end the process, as a service that has not
// begun. HUP is dropped: what it asks for is the program that is about to be started.
func BecomeAnchor() error {
	if !early.CanAnchor {
		return fmt.Errorf("not on a processor of type %s: %w", runtime.GOARCH, errors.ErrUnsupported)
	}
	if err := canFollow(); err != nil {
		return err
	}
	program, err := ownProgram()
	if err != nil {
		return err
	}
	order, err := newMemory("anchor")
	if err != nil {
		return err
	}
	defer order.Close()
	if _, err := order.Write(early.AnchorOrder(firstProgram(program), os.Args)); err != nil {
		return err
	}
	const firstOfOurs = 3
	fd, err := unix.FcntlInt(order.Fd(), unix.F_DUPFD, firstOfOurs) // not close-on-exec
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	defer unix.Close(fd)
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, early.Anchor+"=") })
	defer ignoreHUP()()
	signal.Ignore(syscall.SIGUSR1, syscall.SIGUSR2) // they end a program whose runtime is not there yet
	defer signal.Reset(syscall.SIGUSR1, syscall.SIGUSR2)
	signal.Reset(syscall.SIGINT, syscall.SIGTERM)
	err = syscall.Exec(program, os.Args, append(env, early.AnchorMarker(fd)))
	return fmt.Errorf("execute %s: %w", program, os.NewSyscallError("execve", err))
}

// canFollow finds out whether the system has what an anchor does to a generation: some
// sandboxes do not, and an anchor that sees no generation ends.
func canFollow() error {
	me, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(me)
	return os.NewSyscallError("pidfd_send_signal", unix.PidfdSendSignal(me, 0, nil, 0))
}

// ownProgram is the file that this process executes: under its name, for those who
// list processes, where that is still the same file.
func ownProgram() (string, error) {
	const self = "/proc/self/exe"
	name, err := os.Executable()
	if err != nil {
		return "", err
	}
	mine, err := os.Stat(self)
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(name); err == nil && filepath.IsAbs(name) && os.SameFile(info, mine) {
		return name, nil
	}
	return self, nil
}

// firstProgram is the file that the first generation executes: what an upgrade finds,
// for that may have been put there since this process began, and a HUP that asked for
// it been dropped. A name that is made up may be that of another program.
func firstProgram(own string) string {
	name := os.Args[0]
	mine, err := os.Executable()
	if err != nil || filepath.Base(name) != filepath.Base(mine) || unix.Access(name, unix.X_OK) != nil {
		return own
	}
	return name
}

// firstLine is what the anchor left to the first generation; nil in all others.
var firstLine = newFirstLine()

func newFirstLine() *anchorLine {
	fd := early.AnchorLine()
	if fd < 0 {
		return nil
	}
	return newAnchorLine(fd)
}

// Anchored returns the pid of the process that keeps it over all upgrades, if this one
// is a generation of its service.
func Anchored() (pid int, ok bool) {
	line := firstLine
	if inherited != nil {
		line = inherited.anchor
	}
	if line == nil {
		return 0, false
	}
	return line.pid(), true
}

// An anchorLine is a generation's end of the line to the anchor: all generations have
// the same, and the anchor knows by it whether there is one. No line, nil, hears nothing.
type anchorLine struct{ file *os.File }

// newAnchorLine takes fd over.
func newAnchorLine(fd int) *anchorLine { return &anchorLine{os.NewFile(uintptr(fd), "anchor")} }

// say tells what early.Anchor... names; who says it is proved by the kernel.
func (l *anchorLine) say(what byte) {
	if l == nil {
		return
	}
	l.control(func(fd int) {
		unix.Sendmsg(fd, append([]byte(early.Magic), what), nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	})
}

// pid is that of the anchor, which made the line.
func (l *anchorLine) pid() (pid int) {
	l.control(func(fd int) {
		if cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}

func (l *anchorLine) control(f func(fd int)) {
	if rc, err := l.file.SyscallConn(); err == nil {
		rc.Control(func(fd uintptr) { f(int(fd)) })
	}
}

// SyscallConn is that of the descriptor.
func (l *anchorLine) SyscallConn() (syscall.RawConn, error) { return l.file.SyscallConn() }

// lost waits for the death of the anchor, which never says anything. It returns false
// after stopReading.
func (l *anchorLine) lost() (dead bool) {
	rc, err := l.file.SyscallConn()
	if err != nil {
		return false
	}
	var b [1]byte
	rc.Read(func(fd uintptr) bool {
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		dead = err == nil && n == 0 || err == unix.ECONNRESET
		return dead
	})
	return dead
}

func (l *anchorLine) stopReading() {
	if l != nil {
		l.file.SetReadDeadline(time.Unix(1, 0))
	}
}

func (l *anchorLine) close() {
	if l != nil {
		l.file.Close()
	}
}

// holdOn makes this process one of the line's generations, where there is a line.
func (s *Self) holdOn(line *anchorLine) {
	if line == nil {
		return
	}
	s.anchor = line
	s.wg.Go(func() {
		if line.lost() {
			s.emit(Unanchored{})
		}
	})
}
