package control_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun/internal/control"
)

// names are what the events are called.
func names(events []control.Event) (list []string) {
	for _, e := range events {
		list = append(list, e.Event)
	}
	return list
}

// TestUpgradeCommits: each step is told when it is taken, and the last line has
// all that is known.
func TestUpgradeCommits(t *testing.T) {
	t.Parallel()
	f, step := newFake(), make(chan control.Event)
	f.upgrade = func(_ context.Context, progress func(control.Event)) error {
		for e := range step {
			progress(e)
		}
		return nil
	}
	s := open(t, f)
	told := make(chan control.Event, 1)
	type result struct {
		control.Event
		error
	}
	ended := make(chan result, 1)
	go func() {
		e, err := s.Upgrade(t.Context(), func(e control.Event) { told <- e })
		ended <- result{e, err}
	}()
	hear := func() control.Event { return within(t, 10*time.Second, "event", told) }

	if e := hear(); e.Event != control.EventAccepted || e.PID != 4711 || e.Generation != 3 || e.At.IsZero() {
		t.Errorf("the first is %+v", e)
	}
	for _, sent := range []control.Event{
		{Event: control.EventWaiting, PID: 99, Generation: 1},
		{Event: control.EventStarted, PID: 4712, Generation: 4},
		{Event: control.EventStage, PID: 4712, Stage: "setup"},
		{Event: control.EventServing, PID: 4712, Version: "v2"},
		{Event: control.EventProbation, PID: 4712},
	} {
		step <- sent
		e := hear() // before the next one is taken
		if e.At.IsZero() || e.Took <= 0 {
			t.Errorf("no time: %+v", e)
		}
		e.At, e.Took = time.Time{}, 0
		if e != sent {
			t.Errorf("got %+v, want %+v", e, sent)
		}
	}
	close(step)
	hear()
	r := within(t, 10*time.Second, "result", ended)
	check(t, r.error)
	if r.Event.Event != control.EventCommitted || r.PID != 4712 || r.Generation != 4 || r.Version != "v2" || r.Took <= 0 {
		t.Errorf("the last is %+v", r.Event)
	}
}

// TestUpgradeFails: the reason comes through, all lines of it.
func TestUpgradeFails(t *testing.T) {
	t.Parallel()
	f := newFake()
	why := "panic: no <disk>\n\ngoroutine 1 [running]:\nmain.main()"
	f.upgrade = func(_ context.Context, progress func(control.Event)) error {
		progress(control.Event{Event: control.EventStarted, PID: 5, Generation: 4})
		progress(control.Event{Event: control.EventFailed, Error: "not this one"})
		return &control.Failure{Stage: "setup", PID: 5, Err: errors.New(why)}
	}
	s := open(t, f)
	var events []control.Event
	last, err := s.Upgrade(t.Context(), func(e control.Event) { events = append(events, e) })
	var failure *control.Failure
	if !errors.As(err, &failure) || failure.Stage != "setup" || failure.PID != 5 || failure.Err.Error() != why {
		t.Errorf("the error is %#v", err)
	}
	if last.Event != control.EventFailed || last.Error != why || last.Generation != 4 {
		t.Errorf("the last is %+v", last)
	}
	if got := names(events); !slices.Equal(got, []string{"accepted", "started", "failed"}) {
		t.Errorf("events %q", got)
	}

	res, body := s.ask("POST", "/upgrade", nil)
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/x-ndjson" || strings.Count(body, "\n") != 3 {
		t.Errorf("%s, %v:\n%s", res.Status, res.Header, body)
	}
	f.upgrade = func(context.Context, func(control.Event)) error { return errors.New("draining") }
	if _, err := open(t, f).Upgrade(t.Context(), nil); !errors.As(err, &failure) || err.Error() != "draining" {
		t.Errorf("a failure without a stage: %v", err)
	}
}

// TestMoved: what a process has no time for any more is asked of its successor.
func TestMoved(t *testing.T) {
	t.Parallel()
	f := newFake()
	asked := 0
	moves := func() error {
		if asked++; asked%3 != 0 {
			return control.ErrMoved
		}
		return nil
	}
	f.upgrade = func(context.Context, func(control.Event)) error { return moves() }
	f.reload = func(context.Context) error { return moves() }
	s := open(t, f)
	var events []control.Event
	last, err := s.Upgrade(t.Context(), func(e control.Event) { events = append(events, e) })
	check(t, err)
	if got := names(events); last.Event != control.EventCommitted || !slices.Equal(got, []string{"accepted", "moved", "accepted", "moved", "accepted", "committed"}) {
		t.Errorf("%+v after %q", last, got)
	}
	check(t, s.Reload(t.Context()))
	if asked != 6 {
		t.Errorf("it was asked %d times", asked)
	}
	if res, body := s.ask("POST", "/reload", nil); res.StatusCode != http.StatusMisdirectedRequest || !strings.Contains(body, "ask its successor") {
		t.Errorf("%s: %s", res.Status, body)
	}
}

// TestUpgradeGivenUp: the upgrade's context ends with the client.
func TestUpgradeGivenUp(t *testing.T) {
	t.Parallel()
	f, ended := newFake(), make(chan error, 1)
	f.upgrade = func(ctx context.Context, _ func(control.Event)) error {
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}
	s := open(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.Upgrade(ctx, func(control.Event) { cancel() })
	if !errors.Is(err, control.ErrNoResult) || !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if err := within(t, 10*time.Second, "end of the upgrade", ended); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}

// TestAskUpgrade returns at once, and the upgrade goes on without the client.
func TestAskUpgrade(t *testing.T) {
	t.Parallel()
	f, begun, ended := newFake(), make(chan struct{}), make(chan error, 1)
	release := make(chan struct{})
	f.upgrade = func(ctx context.Context, progress func(control.Event)) error {
		close(begun)
		<-release
		if progress != nil {
			t.Error("somebody looks on who does not wait")
		}
		ended <- ctx.Err()
		return nil
	}
	s := open(t, f)
	check(t, s.AskUpgrade(t.Context()))
	within(t, 10*time.Second, "begin of the upgrade", begun)
	s.http(t)
	close(release)
	if err := within(t, 10*time.Second, "end of the upgrade", ended); err != nil {
		t.Errorf("it was given up: %v", err)
	}
}

// http asks for something else, on a connection of its own.
func (s *socket) http(t *testing.T) {
	t.Helper()
	_, err := s.Status(t.Context())
	check(t, err)
}

// TestUpgradeUnread: a client that never reads holds up neither the upgrade nor
// other clients, and after a while it is taken for gone.
func TestUpgradeUnread(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes the ten seconds that a client has to read a line")
	}
	f, told, ended := newFake(), make(chan struct{}), make(chan error, 1)
	f.upgrade = func(ctx context.Context, progress func(control.Event)) error {
		words := strings.Repeat("x", 64<<10) // more than the socket holds, soon
		for range 1000 {
			progress(control.Event{Event: control.EventStage, Stage: words})
		}
		close(told)
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}
	s := open(t, f)
	_, err := io.WriteString(s.dial(), "POST /upgrade HTTP/1.1\r\nHost: x\r\n\r\n")
	check(t, err)
	within(t, 5*time.Second, "progress", told)
	s.http(t)
	within(t, 20*time.Second, "end of the upgrade", ended)
}

// TestUpgradeCut: a server that dies in between is told from one that failed.
func TestUpgradeCut(t *testing.T) {
	t.Parallel()
	answers := map[string]string{
		"an end":      "",
		"half a line": `{"event":"start`,
		"no JSON":     "<html>\n",
		"no end":      strings.Repeat("x", 5<<20),
	}
	for name, rest := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "sock")
			ln, err := net.Listen("unix", path)
			check(t, err)
			served := make(chan struct{})
			go func() {
				defer close(served)
				c, err := ln.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				http.ReadRequest(bufio.NewReader(c))
				first, _ := json.Marshal(control.Event{Event: control.EventAccepted})
				io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+string(first)+"\n"+rest)
			}()
			t.Cleanup(func() { ln.Close(); <-served })
			var events []control.Event
			_, err = control.NewClient(path).Upgrade(t.Context(), func(e control.Event) { events = append(events, e) })
			if !errors.Is(err, control.ErrNoResult) {
				t.Errorf("the error is %v", err)
			}
			if len(events) != 1 {
				t.Errorf("events %+v", events)
			}
		})
	}
}
