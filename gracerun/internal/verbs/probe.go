package verbs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
	"time"

	"github.com/gracerun/grace/gracerun/internal/control"
	"github.com/gracerun/grace/pidfile"
)

// answerTimeout is how long a service may take to say how it is.
const answerTimeout = 2 * time.Second

// known is what can be known of the service at one moment. What it says of itself comes
// before what the lock shows, and the pid file last.
type known struct {
	status  *control.Status // nil = it does not answer
	control error           // why not

	held bool  // somebody has the lock
	lock error // why that cannot be told

	starting bool // there is the lock, and nothing else yet

	pid     int   // by the pid file, and holding the lock; 0 = unknown
	pidFile error // why
	holders []int // of the lock, if nothing else names a process
}

// moment is as long as a service takes from the first sign of its end to the last.
const moment = 100 * time.Millisecond

// probe changes nothing, and waits for a service that hangs no longer than answerTimeout.
// What is strange may be so because it is just about to end: it looks twice then.
func (s *Service) probe(ctx context.Context) *known {
	if s.Fault != nil {
		return &known{control: s.Fault, lock: s.Fault}
	}
	k := s.look(ctx)
	strange := len(s.warnings(k)) > 0 && !k.hangs() && !errors.Is(k.control, fs.ErrPermission)
	if k.starting || strange {
		if wait(ctx, moment); ctx.Err() == nil {
			return s.look(ctx)
		}
	}
	return k
}

func (s *Service) look(ctx context.Context) *known {
	k := new(known)
	k.status, k.control = s.ask(ctx)
	k.held, k.lock = pidfile.Held(s.PIDFile)
	if !k.held {
		return k
	}
	if k.pid, k.pidFile = pidfile.Read(s.PIDFile); k.pidFile == nil && k.pid == 0 {
		k.held = false // it has ended just now
	}
	if k.held && k.owner() == 0 {
		k.holders = s.holders()
		k.starting = missing(s.PIDFile) && errors.Is(k.control, fs.ErrNotExist)
	}
	return k
}

// ask returns what the service says of itself.
func (s *Service) ask(ctx context.Context) (*control.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	status, err := control.NewClient(s.Socket).Status(ctx)
	if err != nil {
		return nil, err
	}
	return &status, nil
}

func (k *known) running() bool { return k.status != nil || k.held }

// owner returns the pid of the process that owns the service; 0 = unknown.
func (k *known) owner() int {
	switch {
	case k.status != nil:
		return k.status.PID
	case len(k.holders) == 1:
		return k.holders[0]
	}
	return k.pid
}

// who is the owner for people.
func (k *known) who() string {
	pids := k.holders
	if pid := k.owner(); pid != 0 {
		pids = []int{pid}
	}
	return pidList(pids)
}

// works reports whether the service does what it is for. If it cannot be asked, the pid file
// says so, which is written last.
func (k *known) works() bool {
	if k.status != nil {
		return k.status.State == "ready" || k.status.State == "upgrading"
	}
	return k.pid != 0 && (k.silent() || errors.Is(k.control, fs.ErrPermission))
}

// begins reports whether the service is starting.
func (k *known) begins() bool {
	return k.starting || k.status != nil && stateCode(k.status.State) == statusStarting
}

// stops reports whether the service finishes what it has in hand, to end.
func (k *known) stops() bool {
	return k.status != nil && stateCode(k.status.State) == statusDraining
}

// hangs reports whether there is somebody at the control socket who does not answer.
func (k *known) hangs() bool {
	var timeout net.Error
	return errors.Is(k.control, context.DeadlineExceeded) || errors.As(k.control, &timeout) && timeout.Timeout()
}

// silent reports whether there is nobody at the control socket, or cannot be: a path that
// is too long is invalid.
func (k *known) silent() bool {
	return errors.Is(k.control, syscall.ECONNREFUSED) || errors.Is(k.control, fs.ErrNotExist) || errors.Is(k.control, syscall.EINVAL)
}

// gone says that the service does not run or is about to end, or why it cannot be told; nil
// = it runs.
func (s *Service) gone(k *known) error {
	switch {
	case k.stops():
		return &exit{exitNotRunning, fmt.Errorf("%s is stopping; to start it again: %s start", k.who(), s.Name)}
	case k.running():
		return nil
	case k.lock != nil:
		return k.lock
	}
	return &exit{exitNotRunning, fmt.Errorf("not running; to start it: %s start", s.Name)}
}
