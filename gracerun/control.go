package gracerun

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/gracerun/grace/gracerun/internal/control"
	"github.com/gracerun/grace/gracerun/internal/handoff"
	"github.com/gracerun/grace/gracerun/internal/httpdrain"
	"github.com/gracerun/grace/listener"
)

// A controlSocket is where the service is asked and told by its verbs, see
// internal/control. Only the owner of the service accepts there: a predecessor
// pauses before it tells its child to commit, and the successor answers once it
// has. So nobody is told by the one what the other has made untrue. What fails
// here fails no service: signals do without it. A nil one is none.
type controlSocket struct {
	path string
	set  *listener.Set // its own: it is none of the service's sockets
	ln   *pausable
	srv  *httpdrain.Server // nil until it serves
}

// controlName marks the socket among what is handed over: the service may have
// one of its own at the same path.
const controlName = "gracerun.control"

const (
	// controlLetGo is the time that answers under way have when the process is
	// otherwise done: that of the successor, and some on a machine that is busy.
	controlLetGo = 3 * controlPatience
	// controlPatience is how long a predecessor waits for the successor's answer.
	controlPatience = time.Second
)

// maxClients is how many may be connected at once: the rest wait in the queue of
// the kernel, and the service keeps its descriptors.
const maxClients = 64

// takeControl returns the Set that the predecessor's control socket is in, and
// the rest of what it left.
func takeControl(legacy *handoff.Legacy) (set *listener.Set, handles []listener.Handle, fds []int) {
	set = new(listener.Set)
	if legacy == nil {
		return set, nil, nil
	}
	for i, h := range legacy.Handles {
		if h.Name == controlName {
			h.Name = ""
			set = listener.Inherit([]listener.Handle{h}, []int{legacy.FDs[i]})
			continue
		}
		handles, fds = append(handles, h), append(fds, legacy.FDs[i])
	}
	return set, handles, fds
}

// openControl adopts or opens the socket. One whose file is gone (deleted by a
// cleaner of temporary files, say) is opened anew.
func (l *life) openControl() {
	path := l.controlPath
	listen := func() (net.Listener, error) {
		ln, err := l.controlSet.Listen(l.end.take, "unix", path)
		if err == nil {
			err = os.Chmod(path, 0o600)
		}
		return ln, err
	}
	ln, err := listen()
	if errors.Is(err, fs.ErrNotExist) {
		l.controlSet.Remove("unix:" + path)
		ln, err = listen()
	}
	if err != nil {
		l.log.Warn("no control socket: the verbs do with signals", "error", err)
		l.controlSet.Close()
		return
	}
	l.setSocket(&controlSocket{path: path, set: l.controlSet, ln: newPausable(ln)})
}

func (l *life) setSocket(c *controlSocket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.control = c
}

// socket returns the control socket, nil where there is none.
func (l *life) socket() *controlSocket {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.control
}

// serve answers, until release or close.
func (c *controlSocket) serve(s control.Service, log *slog.Logger) {
	if c == nil {
		return
	}
	if err := c.set.CloseUnused(); err != nil {
		log.Warn("the control socket", "error", err)
	}
	c.srv = httpdrain.New(control.NewServer(s, log), httpdrain.Options{})
	go c.srv.Serve(listener.Track(c.ln, maxClients))
}

// estate adds the socket to what is handed over.
func (c *controlSocket) estate(e *handoff.Estate) {
	if c == nil {
		return
	}
	handles, conns := c.set.Handles()
	for i, h := range handles {
		h.Name = controlName
		e.Handles, e.Conns = append(e.Handles, h), append(e.Conns, conns[i])
	}
}

// pause leaves connections in the queue, for whoever it is that accepts next.
func (c *controlSocket) pause() {
	if c != nil {
		c.ln.pause()
	}
}

// resume is for a commit that did not come.
func (c *controlSocket) resume() {
	if c != nil {
		c.ln.resume()
	}
}

// release leaves the socket to the successor: nobody is accepted here any more.
func (c *controlSocket) release() {
	if c != nil {
		c.set.Release()
		c.ln.Close()
	}
}

// close ends the serving, and removes the socket's file if it is this process's.
func (c *controlSocket) close() error {
	if c == nil {
		return nil
	}
	err := c.set.Close()
	if c.srv == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), controlLetGo)
	defer cancel()
	c.srv.Drain(ctx) // of one who hangs it is no fault
	return err
}

func (c *controlSocket) address() string {
	if c == nil {
		return ""
	}
	return c.path
}

// service is what can be asked and told there. A request that reached a process
// which has been replaced since is the successor's: it is asked in its turn, by this
// process or, where the answer takes time, by the client.
func (l *life) service() control.Service {
	s := l.app.readOnly()
	successor := control.NewClient(l.controlPath)
	s.Status = func() control.Status {
		if l.self.Successor() != nil {
			ctx, cancel := context.WithTimeout(l.end.do, controlPatience)
			defer cancel()
			if st, err := successor.Status(ctx); err == nil {
				return st
			}
		}
		return l.status().wire()
	}
	s.Upgrade = func(ctx context.Context, progress func(control.Event)) error {
		err := l.app.upgrade(ctx, progress)
		next := l.self.Successor()
		switch up := new(UpgradeError); {
		case errors.As(err, &up):
			return &control.Failure{Stage: up.Stage, PID: up.PID, Err: up.Err}
		case errors.Is(err, ErrDraining) && next != nil && progress == nil:
			err = successor.AskUpgrade(ctx)
		case err == nil && next != nil && progress != nil:
			progress(control.Event{Event: control.EventCommitted, PID: next.PID, Generation: next.Generation, Version: next.Version})
		}
		return l.worded(err)
	}
	s.Pause = l.steerer((*life).pause, successor.Pause)
	s.Resume = l.steerer((*life).resume, successor.Resume)
	s.Trigger = l.steerer((*life).trigger, successor.Trigger)
	if l.app.Reload != nil {
		s.Reload = func(ctx context.Context) error { return l.worded(l.reload(ctx)) }
	}
	s.Stop = func(why string) { l.post(occurrence{event: evStop, why: why}) }
	s.Reopen = l.reopenAll
	return s
}

// steerer steers a task; when it is too late for that here, the successor does.
func (l *life) steerer(do func(*life, string, *task) error, successor func(context.Context, string) error) func(string) error {
	return func(name string) error {
		err := l.steer(name, do)
		if errors.Is(err, ErrDraining) && l.self.Successor() != nil {
			err = successor(l.end.do, name)
		}
		return l.worded(err)
	}
}

// worded says to who asks a process what callers of this package are told by a sentinel.
func (l *life) worded(err error) error {
	switch {
	case errors.Is(err, ErrNotReady):
		return errors.New("the process is not ready yet")
	case errors.Is(err, ErrDraining) && l.self.Successor() != nil:
		return control.ErrMoved
	case errors.Is(err, ErrDraining):
		return errors.New("the process is draining")
	}
	return err
}

// readOnly is the part that changes nothing.
func (a *App) readOnly() control.Service {
	return control.Service{
		Status: func() control.Status { return a.Status().wire() },
		Ready:  a.readiness,
		Live:   a.liveness,
		Changed: func() <-chan struct{} {
			if l := a.running(); l != nil {
				return l.nextChange()
			}
			return nil
		},
		Draining: func() <-chan struct{} {
			if l := a.running(); l != nil {
				return l.end.take.Done()
			}
			return nil
		},
	}
}

// Handler returns what the control socket shows and nothing that it does, for the
// service's own mux: GET on "status" (JSON), "metrics" (for Prometheus), "healthz",
// "readyz" and "livez" (see [App.ReadyHandler] and [App.LiveHandler]), "events" (server-sent), and a page for people at the root. Below a prefix use
// [http.StripPrefix]. Who may see it is the caller's business.
func (a *App) Handler() http.Handler { return control.ReadOnly(a.readOnly()) }

// pausable is a unix listener that can let connections wait.
type pausable struct {
	*net.UnixListener
	mu   sync.Mutex
	open chan struct{} // closed while it accepts
}

func newPausable(ln net.Listener) *pausable {
	p := &pausable{UnixListener: ln.(*net.UnixListener), open: make(chan struct{})}
	close(p.open)
	return p
}

func (p *pausable) Accept() (net.Conn, error) {
	for {
		p.mu.Lock()
		open := p.open
		p.mu.Unlock()
		<-open
		c, err := p.UnixListener.Accept()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return c, err
		}
	}
}

func (p *pausable) pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = make(chan struct{})
	p.SetDeadline(past)
}

func (p *pausable) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
	default:
		p.SetDeadline(time.Time{})
		close(p.open)
	}
}

// Close ends an Accept that waits, too.
func (p *pausable) Close() error {
	err := p.UnixListener.Close()
	p.resume()
	return err
}
