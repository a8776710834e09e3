package main

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	worker  = "SUPERVISED_WORKER" // set in the environment of a worker
	readyFD = 3                   // where a worker writes its ready byte
	firstFD = 4                   // the first listener
)

// supervisor holds the listeners and has one worker serve them.
type supervisor struct {
	ready     time.Duration // 0 = 30 s
	listeners []uintptr     // plain descriptors: an os.File would make them blocking for the workers
	current   process
}

// process is a running worker.
type process struct {
	*os.Process
	gone <-chan string // says how it ended
}

func (s *supervisor) listen(addresses []string) error {
	for _, address := range addresses {
		ln, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		conn, err := ln.(*net.TCPListener).SyscallConn()
		if err != nil {
			return err
		}
		var dup int
		var dupErr error
		if err := conn.Control(func(fd uintptr) { dup, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
			return err
		}
		if dupErr != nil {
			return os.NewSyscallError("fcntl", dupErr)
		}
		s.listeners = append(s.listeners, uintptr(dup))
		ln.Close()
	}
	return nil
}

// replace starts a worker and, when it is ready, ends the one before it.
func (s *supervisor) replace() error {
	next, err := s.start()
	if err != nil {
		return err
	}
	if s.current.Process != nil {
		s.current.Signal(syscall.SIGTERM)
	}
	s.current = next
	return nil
}

// start returns when the new worker is ready. One that does not get ready is
// killed.
func (s *supervisor) start() (p process, err error) {
	ready, w, err := os.Pipe()
	if err != nil {
		return p, err
	}
	defer ready.Close()
	p, err = s.spawn(w)
	w.Close()
	if err != nil {
		return p, fmt.Errorf("start %s: %w", os.Args[0], err)
	}
	timeout := s.ready
	if timeout <= 0 {
		timeout = 30 * time.Second
	}
	ready.SetReadDeadline(time.Now().Add(timeout))
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		p.Kill()
		return p, fmt.Errorf("pid %d was not ready: %w (%s)", p.Pid, err, <-p.gone)
	}
	return p, nil
}

func (s *supervisor) spawn(ready *os.File) (p process, err error) {
	pid, _, err := syscall.StartProcess(os.Args[0], os.Args, &syscall.ProcAttr{
		Env:   append(os.Environ(), worker+"=1"),
		Files: append([]uintptr{0, 1, 2, ready.Fd()}, s.listeners...),
	})
	if err != nil {
		return p, err
	}
	if p.Process, err = os.FindProcess(pid); err != nil {
		return p, err
	}
	gone := make(chan string, 1)
	go func() {
		state, err := p.Wait()
		if err != nil {
			gone <- err.Error()
			return
		}
		gone <- state.String()
	}()
	p.gone = gone
	return p, nil
}
