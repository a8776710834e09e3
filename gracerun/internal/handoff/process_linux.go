package handoff

import (
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/listener"
)

// A process is a handle (pidfd_open(2)) that names one process for ever: its pid
// may be given to another, the handle stays. It travels between generations.
type process struct {
	file     *os.File
	done     chan struct{} // closed when the process has exited; a zombie counts
	watching sync.Once
}

func openProcess(pid int) (*process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("pid %d: %w", pid, os.NewSyscallError("pidfd_open", err))
	}
	p := newProcess(os.NewFile(uintptr(fd), "pidfd"))
	p.exited()
	return p, nil
}

// openChild refuses what is no child of this process: a pid that another says is not to
// be trusted with a signal. The error of one that has ended is ESRCH.
func openChild(pid int) (*process, error) {
	p, err := openProcess(pid)
	if err != nil {
		return nil, err
	}
	listener.Control([]syscall.Conn{p}, func(fds []int) error {
		err = unix.Waitid(unix.P_PIDFD, fds[0], nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		return nil
	})
	if err == nil {
		return p, nil
	}
	if !p.alive() { // it ended meanwhile, and somebody has buried it
		err = unix.ESRCH
	}
	p.close()
	return nil, err
}

// newProcess takes f over.
func newProcess(f *os.File) *process { return &process{file: f, done: make(chan struct{})} }

// exited begins to watch the process, which a start in a hurry can do later.
func (p *process) exited() <-chan struct{} {
	p.watching.Do(func() {
		if p.file != nil {
			go p.watch()
		}
	})
	return p.done
}

// watch ends when the process has exited or the handle is closed.
func (p *process) watch() {
	rc, err := p.file.SyscallConn()
	if err != nil {
		return
	}
	exited := false
	rc.Read(func(fd uintptr) bool {
		exited = hasExited(fd)
		return exited
	})
	if exited {
		close(p.done)
	}
}

// hasExited asks without waiting.
func hasExited(fd uintptr) bool {
	n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return n > 0
}

func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
	}
	if p.file == nil {
		return true
	}
	gone := false
	rc, err := p.file.SyscallConn()
	if err == nil {
		err = rc.Control(func(fd uintptr) { gone = hasExited(fd) })
	}
	return err == nil && !gone
}

func (p *process) kill() error {
	rc, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	var kerr error
	if err := rc.Control(func(fd uintptr) {
		kerr = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0)
	}); err != nil {
		return err
	}
	return os.NewSyscallError("pidfd_send_signal", kerr)
}

func (p *process) SyscallConn() (syscall.RawConn, error) { return p.file.SyscallConn() }

func (p *process) close() {
	if p.file != nil {
		p.file.Close()
	}
}

// close gives up what this process has of p.
func (p *Peer) close() {
	if p.ch != nil {
		p.ch.close()
	}
	if p.proc != nil {
		p.proc.close()
	}
}
