package gracerun

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gracerun/grace/gracerun/internal/handoff"
)

// start brings the service up and says how it went.
func (l *life) start() {
	if l.readyTimeout > 0 { // stopped with the start: while a timer runs, the scheduler looks at the clock in each turn
		defer time.AfterFunc(l.readyTimeout, l.notReady).Stop()
	}
	err := l.bringUp()
	close(l.broughtUp) // first: what is served in time is not late
	switch {
	case errors.Is(err, ErrDraining): // it was stopped, and gave up: no fault
	case err != nil:
		l.post(occurrence{event: evFault, err: err})
	default:
		l.post(occurrence{event: evServing})
	}
}

// bringUp ends with accept loops that run and a Check that passed, or with the
// reason.
func (l *life) bringUp() error {
	a := l.app
	if err := l.setUp(); err != nil {
		return err
	}
	l.enterStage(handoff.StageListen)
	if err := errors.Join(l.open(), l.preparePID()); err != nil {
		return err
	}
	if err := l.serve(); err != nil {
		return err
	}
	l.adoptControl()
	if a.Check != nil {
		l.enterStage(handoff.StageCheck)
		return a.Check(l.end.take)
	}
	return nil
}

// open adopts or opens the sockets. The service may have one of its own where
// the control socket would be.
func (l *life) open() error {
	if err := l.work.activate(l.passed); err != nil {
		return err
	}
	if slices.ContainsFunc(l.work.addresses, func(ad *address) bool { return ad.network == "unix" && ad.address == l.controlPath }) {
		l.log.Warn("no control socket: the service has a socket of its own at its path", "path", l.controlPath)
		l.socket().close()
		l.setSocket(nil)
		l.controlPath = ""
	}
	for _, ad := range l.work.addresses {
		if err := ad.open(l.end.take, l.sockets); err != nil {
			return err
		}
	}
	return nil
}

// adoptControl comes after the sockets of the service, whose clients wait.
func (l *life) adoptControl() {
	if l.replaces() && l.controlPath != "" {
		l.world.openControl(l)
	}
}

// preparePID does now what can fail, so that nothing does after the commit.
func (l *life) preparePID() error {
	if l.pid == nil {
		return nil
	}
	return l.pid.Prepare()
}

// setUp calls Setup and fixes what is registered.
func (l *life) setUp() error {
	a := l.app
	if a.Setup != nil {
		l.enterStage(handoff.StageSetup)
		a.setPhase(phaseSetup)
		if err := a.Setup(l.end.do); err != nil {
			return err
		}
		if err := a.check(); err != nil { // of what it registered
			return err
		}
	}
	if l.end.take.Err() != nil {
		return context.Cause(l.end.take)
	}
	l.work = a.fix()
	l.planCommands()
	return l.work.bind()
}

// serve starts the accept loops, unless the drain has begun.
func (l *life) serve() error {
	for _, s := range l.work.servers {
		s.begin(l)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end.take.Err() != nil {
		return context.Cause(l.end.take)
	}
	l.served = true
	for _, ad := range l.work.addresses {
		go l.serveAddress(ad)
	}
	return nil
}

func (l *life) serveAddress(ad *address) {
	err := ad.server.serve(ad)
	close(ad.ended)
	if l.end.take.Err() != nil {
		return
	}
	if err == nil {
		err = errors.New("its Serve returned")
	}
	l.post(occurrence{event: evFault, err: fmt.Errorf("server %v stopped: %w", ad, err)})
}

// serving reports whether the accept loops have been started.
func (l *life) serving() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.served
}

// enterStage notes what the start is busy with. The predecessor is told, unless
// there is nothing yet that can take its time.
func (l *life) enterStage(stage string) {
	l.mu.Lock()
	l.stage = stage
	l.mu.Unlock()
	if stage != handoff.StageListen || l.app.Setup != nil {
		l.self.Stage(stage)
	}
}

func (l *life) startStage() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stage
}

// notReady is called when ReadyTimeout has passed.
func (l *life) notReady() {
	select {
	case <-l.broughtUp:
		return
	default:
	}
	l.post(occurrence{event: evFault, err: fmt.Errorf("not serving after %v: it is still busy with %s", l.readyTimeout, l.startStage())})
}

func (l *life) addressesOf(s server) []*address {
	return slices.DeleteFunc(slices.Clone(l.work.addresses), func(ad *address) bool { return ad.server != s })
}

// nameOf names a server by its addresses.
func (l *life) nameOf(s server) string {
	var names []string
	for _, ad := range l.addressesOf(s) {
		names = append(names, ad.String())
	}
	return strings.Join(names, ", ")
}
