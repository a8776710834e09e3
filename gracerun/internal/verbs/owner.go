package verbs

import (
	"os"
	"path/filepath"
	"slices"

	"github.com/gracerun/grace/gracerun/internal/control"
	"github.com/gracerun/grace/pidfile"
)

// holders returns who has the lock and may be signalled for it. This process is not among
// them, and neither is pid 1: an init may keep descriptors for its services.
func (s *Service) holders() []int {
	pids, err := pidfile.Holders(s.PIDFile)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(pids, func(pid int) bool {
		return pid == 1 || pid == os.Getpid() || !ofOwner(pid, filepath.Dir(s.PIDFile))
	})
}

// proved reports whether the process runs the service: the pid file vouches for it, which
// has its own rules for whom root may believe, or it has the lock.
func (s *Service) proved(pid int) bool {
	if named, err := pidfile.Read(s.PIDFile); err == nil && named == pid {
		return true
	}
	holds, err := pidfile.Holds(s.PIDFile, pid)
	return err == nil && holds && ofOwner(pid, filepath.Dir(s.PIDFile))
}

// owners returns the processes that own the service: the one in the pid file and the one
// that answers, who are the same but in the moment of a hand-over; if there is none of
// them, all who hold the lock. The error says why the pid file is of no use.
func (s *Service) owners(status *control.Status) ([]int, error) {
	var pids []int
	pid, err := pidfile.Read(s.PIDFile)
	if pid != 0 {
		pids = append(pids, pid)
	}
	if status != nil && status.PID != pid && s.proved(status.PID) {
		pids = append(pids, status.PID)
	}
	if len(pids) == 0 {
		pids = s.holders()
	}
	return pids, err
}
