package verbs

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"syscall"

	"github.com/gracerun/grace/pidfile"
)

// A crew is the processes that were shown to run the service. They are held on to, so that
// each can be told and waited for when it has let go of the lock, too: on Linux by a pidfd,
// by which nobody else can be hit.
type crew struct {
	service   *Service
	processes map[int]*os.Process
}

func newCrew(s *Service) *crew { return &crew{s, map[int]*os.Process{}} }

// errUnproved is why a process is not signalled.
var errUnproved = errors.New("neither the pid file nor /proc shows whose the lock is; its user and root see more")

// meet gets hold of a process. Unless it is proved to run the service, the error is
// errUnproved.
func (c *crew) meet(pid int) (*os.Process, error) {
	if p := c.processes[pid]; p != nil {
		return p, nil
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		return nil, err
	}
	if !c.service.proved(pid) {
		p.Release()
		return nil, errUnproved
	}
	c.processes[pid] = p
	return p, nil
}

// tell sends a signal, which a stopped process hears, too.
func (c *crew) tell(pid int, sig syscall.Signal) error {
	p, err := c.meet(pid)
	if err != nil {
		return err
	}
	for _, sig := range []syscall.Signal{sig, sigContinue} {
		if err := p.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("pid %d may only be told by its own user or root: %w", pid, err)
		}
	}
	return nil
}

// alive returns the pids of those that have not exited. This process, whose service may be
// stopped from within, cannot be waited for.
func (c *crew) alive() []int {
	var pids []int
	for _, pid := range slices.Sorted(maps.Keys(c.processes)) {
		if pid != os.Getpid() && !ended(c.processes[pid]) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// hold reports whether one of them still has the lock, as far as can be told. While one has
// it, everybody else who has it got it from them.
func (c *crew) hold() bool {
	for pid, p := range c.processes {
		if ended(p) {
			continue
		}
		holds, err := pidfile.Holds(c.service.PIDFile, pid)
		if holds || err != nil && !errors.Is(err, fs.ErrNotExist) {
			return true
		}
	}
	return false
}

func (c *crew) release() {
	for _, p := range c.processes {
		p.Release()
	}
}
