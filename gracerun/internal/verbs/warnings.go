package verbs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/gracerun/grace/gracerun/internal/command"
	"github.com/gracerun/grace/pidfile"
)

// warnings says what is not as it should be.
func (s *Service) warnings(k *known) []string {
	if !k.running() {
		if left := s.orphans(); left != "" && k.lock == nil {
			return []string{left}
		}
		return nil
	}
	var list []string
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	locked := new(pidfile.LockedError)
	switch {
	case k.begins() || k.stops(): // the pid file is written last, and the lock is not the last to go
	case !k.held:
		add("nobody holds %s, so another one could start: was it deleted? An upgrade takes a new one", pidfile.LockPath(s.PIDFile))
	case errors.As(k.pidFile, &locked) && missing(s.PIDFile):
		add("the pid file %s is missing: an upgrade writes it", s.PIDFile)
	case errors.As(k.pidFile, &locked) && k.status == nil: // no verb dares to upgrade it
		add("the pid file %s names a process that does not hold the lock; if nobody serves: '%s start' waits for who holds it, '%s stop' ends him", s.PIDFile, s.Name, s.Name)
	case errors.As(k.pidFile, &locked):
		add("the pid file %s names a process that does not hold the lock: an upgrade writes it", s.PIDFile)
	case k.pidFile != nil:
		add("the pid file cannot be trusted: %v", k.pidFile)
	case k.status != nil && k.pid != k.status.PID:
		add("the pid file %s names pid %d, but pid %d owns the service", s.PIDFile, k.pid, k.status.PID)
	}
	switch {
	case k.control == nil || k.begins() || s.statusCode(k) == statusUnnamed:
	case k.silent():
		add("the verbs do with signals: %s", s.noSocket(k.control))
	case errors.Is(k.control, fs.ErrPermission) && os.Geteuid() != 0:
		add("only its user and root may see more")
	case k.hangs():
		add("it does not answer on its control socket: it may be stopped (SIGSTOP), overloaded, or hang")
	default:
		add("%v", k.control)
	}
	return list
}

// idle says what of a service that runs is not done, because somebody wants it so, or it
// failed too often.
func (s *Service) idle(k *known) []string {
	if k.status == nil {
		return nil
	}
	var list []string
	add := func(name, why string) {
		list = append(list, inLine(fmt.Sprintf("%s %s; to let it go on: %s resume %s", name, why, s.Name, quote(name))))
	}
	for _, t := range k.status.Tasks {
		if t.Paused {
			add(t.Name, "is paused")
		}
	}
	for _, c := range k.status.Commands {
		switch c.State {
		case "paused":
			add(c.Name, "is paused")
		case "failed":
			add(c.Name, "was given up")
		}
	}
	return list
}

// orphans says which programs a service has left that was killed; "" = none.
func (s *Service) orphans() string {
	var names []string
	for _, c := range command.Left(command.Options{Dir: filepath.Dir(s.PIDFile), Name: s.Name}) {
		if c.PID != 0 {
			names = append(names, fmt.Sprintf("%s (pid %d)", c.Name, c.PID))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return inLine(fmt.Sprintf("its programs still run: %s. A start watches over them again, and a stop after that ends them", strings.Join(names, ", ")))
}

// noSocket says why nobody answers, and what mends it.
func (s *Service) noSocket(err error) string {
	info, serr := os.Lstat(s.Socket)
	switch {
	case errors.Is(err, syscall.EINVAL):
		return fmt.Sprintf("%s is too long for the control socket's path (unix(7)): use a shorter run directory", s.Socket)
	case serr == nil && info.Mode().Type() != fs.ModeSocket:
		return fmt.Sprintf("%s is not a socket: remove it, then an upgrade opens the control socket", s.Socket)
	}
	return fmt.Sprintf("nobody listens on the control socket %s, an upgrade opens it", s.Socket)
}

func missing(name string) bool {
	_, err := os.Lstat(name)
	return errors.Is(err, fs.ErrNotExist)
}
