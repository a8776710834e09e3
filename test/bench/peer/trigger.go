package peer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Trigger asks for an upgrade as the project recommends, and returns when the
// request has been made: what follows goes on in the background.
func (s *Server) Trigger() error {
	if !s.Can(Upgrade) {
		return fmt.Errorf("%s: %w", s.Name, errors.ErrUnsupported)
	}
	return s.trigger(s)
}

// signalNewest signals the process that was last seen to answer, see
// [Server.Newest].
func signalNewest(sig syscall.Signal) func(*Server) error {
	return func(s *Server) error { return s.Signal(s.Newest(), sig) }
}

// signalFirst signals the process that was started: a main process, a supervisor,
// a master.
func signalFirst(sig syscall.Signal) func(*Server) error {
	return func(s *Server) error { return s.Signal(s.First, sig) }
}

// inBackground is for upgrades that are several steps, as a script makes them: one
// script at a time. Close waits for them.
func inBackground(steps func(*Server, context.Context) error) func(*Server) error {
	return func(s *Server) error {
		s.scripts.Go(func() {
			s.script.Lock()
			defer s.script.Unlock()
			if err := steps(s, s.ctx); err != nil && s.ctx.Err() == nil {
				s.report(err)
			}
		})
		return nil
	}
}

// report writes an error of a script to the log.
func (s *Server) report(err error) {
	out, openErr := s.openLog()
	if openErr != nil {
		return
	}
	defer out.Close()
	fmt.Fprintf(out, "upgrade failed: %v\n", err)
}

func (s *Server) openLog() (*os.File, error) {
	return os.OpenFile(filepath.Join(s.Root, "log"), os.O_WRONLY|os.O_APPEND, 0)
}

// stopThenStart leaves nobody to serve in between.
func (s *Server) stopThenStart(ctx context.Context) error {
	old := s.main()
	err := s.Signal(old, syscall.SIGTERM)
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	if err := s.Exited(ctx, old); err != nil {
		return err
	}
	pid, _, err := s.startAnother()
	if err == nil {
		s.setMain(pid)
	}
	return err
}

// startThenStop ends the old process when the new one says that it is ready.
func (s *Server) startThenStop(ctx context.Context) error {
	from := len(s.Log())
	pid, gone, err := s.startAnother()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.ready, fmt.Errorf("not ready in %v", s.ready))
	defer cancel()
	ctx, exited := context.WithCancelCause(ctx)
	defer context.AfterFunc(gone, func() { exited(errors.New("it exited")) })()
	if _, err := s.Logged(ctx, from, fmt.Sprintf("pid %d is ready", pid)); err != nil {
		s.Signal(pid, syscall.SIGKILL)
		return fmt.Errorf("pid %d: %w", pid, err)
	}
	old := s.main()
	s.setMain(pid)
	return s.Signal(old, syscall.SIGTERM)
}

// startAnother starts the installed program. The context ends when it has exited.
func (s *Server) startAnother() (pid int, gone context.Context, err error) {
	out, err := s.openLog()
	if err != nil {
		return 0, nil, err
	}
	defer out.Close()
	p, err := s.Run(out)
	if err != nil {
		return 0, nil, err
	}
	gone, exited := context.WithCancel(context.Background())
	s.children.Go(func() {
		p.Wait() // its status may have gone to the harness already
		exited()
	})
	return p.Pid, gone, nil
}

// signalMaster has nginx's master replace its workers.
func (s *Server) signalMaster() error { return s.Signal(s.main(), syscall.SIGHUP) }

// replaceMaster is nginx's upgrade of its program: when the new master has written
// the pid file, the old one is told to end its workers and itself.
func (s *Server) replaceMaster(ctx context.Context) error {
	old := s.main()
	if err := s.Signal(old, syscall.SIGUSR2); err != nil {
		return err
	}
	pid, err := s.awaitMaster(ctx, old)
	if err != nil {
		return err
	}
	s.setMain(pid)
	if err := s.Signal(old, syscall.SIGWINCH); err != nil {
		return err
	}
	return s.Signal(old, syscall.SIGQUIT)
}

// awaitMaster waits until nginx's pid file names another process than old.
func (s *Server) awaitMaster(ctx context.Context, old int) (pid int, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.ready)
	defer cancel()
	for {
		text, _ := os.ReadFile(s.PIDFile) // renamed for the time of an upgrade
		if pid, err = strconv.Atoi(strings.TrimSpace(string(text))); err == nil && pid != old {
			return pid, nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("no new master in %v", s.ready)
		case <-time.After(time.Millisecond):
		}
	}
}

// main returns the process that the next upgrade is about, where that is not the
// one that answers: nginx's master, what a script has started.
func (s *Server) main() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mainPID
}

func (s *Server) setMain(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mainPID = pid
}
