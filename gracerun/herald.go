package gracerun

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gracerun/grace/gracerun/internal/systemd"
)

// A herald tells the service manager how the service is, in the order in which
// things happen. The owner of the state does not wait for it: a manager that does
// not read costs a second for each message. A nil herald tells nobody.
//
// Generations take turns: one begins to speak with own, and says nothing after
// handOver. A generation that drains after an upgrade so never says that the service
// stops, which would be the end of the unit.
type herald struct {
	notify *systemd.Notifier
	log    *slog.Logger
	owns   chan struct{} // closed when this process speaks
	ended  chan struct{} // closed when speak has ended

	mu       sync.Mutex
	news     *sync.Cond // in what speak waits for
	queue    []notice   // kept until this process owns
	stopping bool       // the manager was told
	unheard  bool       // the last message was
	until    time.Time  // nothing is sent after it; zero = it is not closed
}

// A notice is one message.
type notice struct {
	send   func(*systemd.Notifier) error
	status bool // the next one of this kind makes it superfluous
	sent   chan<- error
}

// newHerald returns nil where there is no manager.
func newHerald(m systemd.Manager, log *slog.Logger) *herald {
	if m.Socket == "" {
		return nil
	}
	h := &herald{
		notify: m.Notifier(false), log: log,
		owns: make(chan struct{}), ended: make(chan struct{}),
	}
	h.news = sync.NewCond(&h.mu)
	go h.speak()
	return h
}

// own has this process speak for the service.
func (h *herald) own() {
	if h == nil || h.owner() {
		return
	}
	h.notify.Own()
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.owns)
	h.news.Signal()
}

func (h *herald) owner() bool {
	select {
	case <-h.owns:
		return true
	default:
		return false
	}
}

func (h *herald) ready(status string) {
	if h != nil && !h.isStopping() {
		h.tell(notice{send: func(n *systemd.Notifier) error { return n.Ready(status) }})
	}
}

func (h *herald) reloading(status string) {
	if h != nil && !h.isStopping() {
		h.tell(notice{send: func(n *systemd.Notifier) error { return n.Reloading(status) }})
		h.extend() // a beat may be too late
	}
}

// stop says that the service is about to end.
func (h *herald) stop(status string) {
	if h == nil {
		return
	}
	h.mu.Lock()
	h.stopping = true
	h.mu.Unlock()
	h.tell(notice{send: func(n *systemd.Notifier) error { return n.Stopping(status) }})
	h.extend() // a beat may be too late
}

func (h *herald) isStopping() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stopping
}

// extend has the manager wait on for what is under way.
func (h *herald) extend() {
	h.tell(notice{send: func(n *systemd.Notifier) error { return n.ExtendTimeout(extendPeriod) }})
}

func (h *herald) status(text string) {
	h.tell(notice{send: func(n *systemd.Notifier) error { return n.Status(text) }, status: true})
}

// tell queues a message.
func (h *herald) tell(m notice) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if last := len(h.queue) - 1; last >= 0 && m.status && h.queue[last].status {
		h.queue[last] = m
		return
	}
	h.queue = append(h.queue, m)
	h.news.Signal()
}

// speak sends what is queued, until close.
func (h *herald) speak() {
	defer close(h.ended)
	for {
		h.mu.Lock()
		for h.until.IsZero() && (len(h.queue) == 0 || !h.owner()) {
			h.news.Wait()
		}
		if len(h.queue) == 0 || !h.owner() || !h.until.IsZero() && time.Now().After(h.until) {
			h.mu.Unlock()
			return
		}
		m := h.queue[0]
		h.queue = h.queue[1:]
		h.mu.Unlock()
		h.send(m)
	}
}

func (h *herald) send(m notice) {
	err := m.send(h.notify)
	if err != nil && !h.unheard {
		h.log.Warn("the service manager does not hear", "error", err)
	}
	h.unheard = err != nil
	if m.sent != nil {
		m.sent <- err
	}
}

// errStopping keeps the manager with this process: it was told that the service
// stops, and does not follow another any more (systemd 252).
var errStopping = errors.New("the service stops")

// handOver makes the successor the manager's main process; pid 0 = the main process
// is another one, which stays. The successor may speak then, but this process must not
// exit before the manager has read it. On an error this process is still the one that is
// followed, and must exit last.
func (h *herald) handOver(pid int, status string) error {
	if h == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), handOverTime)
	defer cancel()
	select {
	case <-h.owns: // it may be the predecessor's turn still
	case <-ctx.Done():
		return errors.New("the predecessor has not handed the service manager over")
	}
	sent := make(chan error, 1)
	h.tell(notice{sent: sent, send: func(n *systemd.Notifier) error {
		if h.isStopping() {
			return errStopping
		}
		return n.HandOver(pid, status)
	}})
	select {
	case err := <-sent:
		return err
	case <-h.ended: // the service did not wait for us
		return errStopping
	}
}

// handOverTime is how long a manager may take to read that it has a new main
// process. One that reloads its units does for some tens of milliseconds, and for
// seconds where a generator is slow.
const handOverTime = 5 * time.Second

// read returns when the manager has read what was said.
func (h *herald) read() error {
	ctx, cancel := context.WithTimeout(context.Background(), handOverTime)
	defer cancel()
	return h.notify.Barrier(ctx)
}

// lastWords is how long a manager that does not read may delay the end.
const lastWords = 3 * time.Second

// close says how the service ended, waits until the manager has read it, and ends the
// herald.
func (h *herald) close(fault error) {
	if h == nil {
		return
	}
	h.tell(notice{send: func(n *systemd.Notifier) (err error) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		status := "stopped"
		if fault != nil {
			status = strings.TrimPrefix(fault.Error(), "gracerun: ")
		}
		if errno := syscall.Errno(0); errors.As(fault, &errno) {
			err = n.Errno(errno)
		}
		return errors.Join(err, n.Status(status), n.Barrier(ctx))
	}})
	h.mu.Lock()
	h.until = time.Now().Add(lastWords)
	h.news.Signal()
	h.mu.Unlock()
	<-h.ended
}
