package control_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun/internal/control"
)

// watch opens the stream of events, and delivers each status; the channel is
// closed at its end.
func watch(t *testing.T, url string) <-chan control.Status {
	t.Helper()
	res, err := http.Get(url + "/events")
	check(t, err)
	t.Cleanup(func() { res.Body.Close() })
	if got := res.Header.Get("Content-Type"); res.StatusCode != 200 || got != "text/event-stream" {
		t.Fatalf("%s, %s", res.Status, got)
	}
	events := make(chan control.Status, 100)
	go func() {
		defer close(events)
		lines := bufio.NewScanner(res.Body)
		for lines.Scan() {
			switch field, value, _ := strings.Cut(lines.Text(), ": "); field {
			case "data":
				var s control.Status
				if err := json.Unmarshal([]byte(value), &s); err != nil {
					t.Errorf("%q: %v", value, err)
				}
				events <- s
			case "", "retry":
			default:
				t.Errorf("a line %q", lines.Text())
			}
		}
	}()
	return events
}

// TestEvents: the first status comes at once, each change soon, what is the same
// not again, and an end when the process lets go.
func TestEvents(t *testing.T) {
	t.Parallel()
	f := newFake()
	srv := httptest.NewServer(control.ReadOnly(f.service()))
	t.Cleanup(srv.Close)
	events := watch(t, srv.URL)
	if s := within(t, 5*time.Second, "first status", events); s.State != "ready" || s.Uptime < 60 || s.Sockets == nil {
		t.Errorf("the first is %+v", s)
	}
	began := time.Now()
	f.set(func(s *control.Status) { s.State = "upgrading" })
	if s := within(t, 5*time.Second, "change", events); s.State != "upgrading" {
		t.Errorf("the second is %+v", s)
	}
	if took := time.Since(began); took > 900*time.Millisecond {
		t.Errorf("a change was told after %s", took)
	}
	select {
	case s := <-events:
		t.Errorf("no news: %+v", s)
	case <-time.After(1200 * time.Millisecond): // longer than from one look to the next
	}
	// A change that nobody announces: work comes and goes.
	f.mu.Lock()
	f.status.InFlight = []control.Work{{Name: "page", Count: 1}}
	f.mu.Unlock()
	if s := within(t, 5*time.Second, "look", events); len(s.InFlight) != 1 {
		t.Errorf("the third is %+v", s)
	}
	f.mu.Lock()
	f.status.State = "draining"
	close(f.draining)
	f.mu.Unlock()
	if s := within(t, 5*time.Second, "change", events); s.State != "draining" {
		t.Errorf("the last is %+v", s)
	}
	if s := within(t, 5*time.Second, "end", events); s.State != "" {
		t.Errorf("after the last: %+v", s)
	}
	// Who comes while it drains is told what there is, and sent away.
	if s := within(t, 5*time.Second, "status", watch(t, srv.URL)); s.State != "draining" {
		t.Errorf("later: %+v", s)
	}
}

// TestEventsOfAStorm: however fast the state changes, the viewer gets no more
// than can be shown, and what he gets last is how it is.
func TestEventsOfAStorm(t *testing.T) {
	t.Parallel()
	f := newFake()
	srv := httptest.NewServer(control.ReadOnly(f.service()))
	t.Cleanup(srv.Close)
	events := watch(t, srv.URL)
	began, changes := time.Now(), 0
	for time.Since(began) < 300*time.Millisecond {
		changes++
		f.set(func(s *control.Status) { s.Generation = 1000 + changes })
	}
	n := 1
	for within(t, 5*time.Second, "event", events).Generation != 1000+changes {
		n++
	}
	if most := int(time.Since(began)/(50*time.Millisecond)) + 3; n > most {
		t.Errorf("%d events of %d changes in %s", n, changes, time.Since(began))
	}
}

// TestEventsHead has no end to wait for.
func TestEventsHead(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(control.ReadOnly(newFake().service()))
	defer srv.Close()
	res, err := http.Head(srv.URL + "/events")
	check(t, err)
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != 200 {
		t.Errorf("%s, %v", res.Status, err)
	}
}
