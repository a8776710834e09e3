package gracerun

import (
	"context"
	"errors"
	"time"
)

// reloads is what the owner of the state knows of calls of App.Reload.
type reloads struct {
	current []*request // who waits for the call under way
	next    []*request // who asked after it had begun: the configuration may have changed since
}

var errNoReload = errors.New("gracerun: this service has no App.Reload: an upgrade makes it reread its configuration")

// reload has App.Reload called by this generation, if it owns the service, and returns its
// error.
func (l *life) reload(ctx context.Context) error {
	r := &request{at: time.Now(), reload: true, moves: true, reply: make(chan error, 1)}
	if !l.post(occurrence{event: evReload, request: r}) {
		return ErrDraining
	}
	select {
	case err := <-r.reply:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-l.done:
		return ErrDraining
	}
}

// startReload calls App.Reload for r, or once more after the call under way.
func (l *life) startReload(r *request) {
	re := &l.re
	switch {
	case l.app.Reload == nil:
		r.answer(errNoReload)
		return
	case re.current != nil:
		re.next = append(re.next, r)
		return
	}
	j := l.jobs.begin("reload", false)
	if j == nil {
		r.answer(ErrDraining)
		return
	}
	re.current, re.next = append(re.next, r), nil
	l.herald.reloading("rereading the configuration")
	go func() {
		defer l.jobs.end(j)
		err := l.app.Reload(l.end.do)
		l.post(occurrence{call: func() { l.endReload(err) }})
	}()
}

func (l *life) endReload(err error) {
	fault := ""
	if err != nil {
		l.log.Error("reload failed: the configuration stays as it was", "error", err)
		fault = err.Error()
	} else {
		l.log.Info("reloaded")
	}
	l.mu.Lock()
	l.reloadFailed, l.reloadError = time.Now(), fault
	l.mu.Unlock()
	l.herald.ready(l.managerStatus())
	re := &l.re
	for _, r := range re.current {
		r.answer(err)
	}
	re.current = nil
	if n := len(re.next); n > 0 {
		r := re.next[n-1]
		re.next = re.next[:n-1]
		l.startReload(r)
	}
}
