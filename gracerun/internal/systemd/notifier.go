package systemd

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"time"
)

// A Notifier tells the service manager how the service is. It is silent where there is
// no manager, before it owns the service, after it has handed it over, and when it is
// nil; then every method returns nil.
//
// Each call is one datagram, and waits for up to a second for a manager that does not
// read. An error says that the manager did not get it; nobody answers that it did, see
// [Notifier.Barrier], nor that it believes it.
type Notifier struct {
	manager Manager

	mu    sync.Mutex // one datagram after the other
	owner bool
}

// sendTimeout is how long a manager may take to have room for a datagram. One that is
// busy reloading units does, for some tens of milliseconds.
const sendTimeout = time.Second

// Notifier returns the one of a process that owns the service, as the first does, or
// that will when it calls Own.
func (m Manager) Notifier(owner bool) *Notifier { return &Notifier{manager: m, owner: owner} }

// Own has the Notifier speak from now on. The predecessor must have handed over, or be
// dead: until then what this process says is refused, and a warning in the journal.
func (n *Notifier) Own() {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.owner = true
}

// Ready says that the service serves: when it has started, and at the end of each
// reload, also of one that failed. status is for people, "" leaves it as it is; as
// everywhere here it becomes one line.
func (n *Notifier) Ready(status string) error { return n.send(ready(status)) }

// Reloading says that the service is about to be replaced, or rereads its
// configuration. Ready, or HandOver, must follow, whatever comes of it.
func (n *Notifier) Reloading(status string) error {
	now, err := monotonic()
	if err != nil {
		return err
	}
	return n.send(reloading(now, status))
}

// HandOver makes the process pid the main one, ends the reload, and has this Notifier
// say no more; with pid 0 the main process stays the one that it is. Call it after the
// commit of the successor, which must be [Adopted] by then. From its return on the
// successor may speak: the manager reads in the order of the sending. But this process
// must not exit before that, see [Notifier.Barrier]: it would be the end of the unit. If
// nothing could be sent, this process is still the main one, and must outlive the
// successor.
//
// It is one datagram, so that no moment exists in which the reload is over and the main
// process is the old one. Of a service that it is stopping already, systemd 252 does not
// believe it, and 257 does: then, too, this process exits last.
func (n *Notifier) HandOver(pid int, status string) error {
	m := ready(status)
	if pid != 0 {
		m = append(mainPID(pid), m...)
	}
	return n.speak(func() error {
		err := n.deliver(m)
		n.owner = err != nil
		return err
	})
}

// MainPID makes another process the main one, and changes nothing else. It must be in
// the unit's control group, or the sender be root.
func (n *Notifier) MainPID(pid int) error { return n.send(mainPID(pid)) }

// Status sets the line that `systemctl status` shows.
func (n *Notifier) Status(text string) error {
	if text == "" {
		return nil
	}
	return n.send(message{}.status(text))
}

// Errno says why the service fails, in the numbers of errno(3); 0 takes it back.
func (n *Notifier) Errno(e syscall.Errno) error {
	return n.send(message{}.add("ERRNO", fmt.Sprint(int(e))))
}

// ExtendTimeout has the manager wait for at least d from now on for the start, or the
// stop, to end. It is of use only while one of them is under way, and then has to be
// repeated before d has passed.
func (n *Notifier) ExtendTimeout(d time.Duration) error {
	return n.send(message{}.add("EXTEND_TIMEOUT_USEC", usec(d)))
}

// Stopping says that the service, not only this process, is about to end. A generation
// that drains after an upgrade must not call it: the manager would stop the unit.
func (n *Notifier) Stopping(status string) error { return n.send(stopping(status)) }

// Watchdog is the sign of life that is due every [Manager.WatchdogInterval].
func (n *Notifier) Watchdog() error {
	if n == nil || n.manager.Watchdog == 0 {
		return nil
	}
	return n.send(message{"WATCHDOG=1"})
}

// Barrier returns when the manager has read all that was sent before, or when ctx ends.
// It says nothing, and so is also for who has handed over.
func (n *Notifier) Barrier(ctx context.Context) error {
	if n == nil || n.manager.Socket == "" {
		return nil
	}
	return n.barrier(ctx)
}

// Store has the manager keep the descriptors under one name, see [StoreName], until
// they are removed or the service is stopped. They come back as [Sockets] when the
// service starts again: after a crash, and after `systemctl restart`. What the manager
// keeps already, under whatever name, it does not keep twice; what a socket unit opened
// is not to be stored, it would come back twice. A name that is too long is an error that
// wraps [ErrName]. The manager closes what is more
// than FileDescriptorStoreMax= allows, and says so in the journal only.
func (n *Notifier) Store(name string, conns ...syscall.Conn) error {
	if err := checkName(name); err != nil {
		return err
	}
	for len(conns) > 0 {
		part := conns[:min(len(conns), maxRights)]
		// Without FDPOLL=0 the manager drops what polls as hung up.
		if err := n.send(message{"FDSTORE=1", "FDPOLL=0"}.add("FDNAME", name), part...); err != nil {
			return err
		}
		conns = conns[len(part):]
	}
	return nil
}

// maxRights is how many descriptors a message takes (SCM_MAX_FD of the kernel).
const maxRights = 253

// Remove has the manager close what it keeps under the name.
func (n *Notifier) Remove(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	return n.send(message{"FDSTOREREMOVE=1"}.add("FDNAME", name))
}

func (n *Notifier) send(m message, conns ...syscall.Conn) error {
	return n.speak(func() error { return n.deliver(m, conns...) })
}

// speak is for the owner.
func (n *Notifier) speak(say func() error) error {
	if n == nil || n.manager.Socket == "" {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.owner {
		return nil
	}
	return say()
}

// deliver opens a socket for each message: the manager's may be another one after it
// was itself replaced.
func (n *Notifier) deliver(m message, conns ...syscall.Conn) error {
	if err := datagram(n.manager.Socket, m.String(), conns); err != nil {
		return fmt.Errorf("notify the service manager of %q: %w", m[0], err)
	}
	return nil
}
