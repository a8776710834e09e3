//go:build linux

package test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun"
)

// What the control socket promises, seen from outside: any HTTP client will do.

func (s *scene) controlSocket() string { return filepath.Join(s.RunDir, "service.sock") }

// control is a client of the control socket, each of whose requests opens a
// connection.
func (s *scene) control() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", s.controlSocket())
		},
	}}
}

// ask sends a request and returns the answer, which must be a success.
func (s *scene) ask(method, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(s.ctx, method, "http://service"+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := s.control().Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode/100 != 2 {
		res.Body.Close()
		return nil, fmt.Errorf("%s %s: %s", method, path, res.Status)
	}
	return res.Body, nil
}

func (s *scene) status() (st gracerun.Status, err error) {
	body, err := s.ask("GET", "/status")
	if err != nil {
		return st, err
	}
	defer body.Close()
	return st, json.NewDecoder(body).Decode(&st)
}

// upgradeByControl returns the events of an upgrade, as "event stage error".
func (s *scene) upgradeByControl() (events []string) {
	s.t.Helper()
	body, err := s.ask("POST", "/upgrade")
	s.must(err)
	defer body.Close()
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		var ev struct{ Event, Stage, Error string }
		s.must(json.Unmarshal(lines.Bytes(), &ev))
		events = append(events, strings.Join(strings.Fields(ev.Event+" "+ev.Stage+" "+ev.Error), " "))
	}
	s.must(lines.Err())
	return events
}

// TestControlThroughUpgrades: there is no instant at which nobody answers, and
// it is always one who owns, or owned, the service.
func TestControlThroughUpgrades(t *testing.T) {
	t.Parallel()
	s := newScene(t, times{}, nil)
	before, err := os.Stat(s.controlSocket())
	s.must(err)
	if before.Mode().Perm() != 0o600 {
		t.Errorf("the socket's mode is %v", before.Mode())
	}
	const askers, each = 1000, 3
	newest := 1
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range askers {
		wg.Go(func() {
			for range each {
				mu.Lock()
				least := newest
				mu.Unlock()
				st, err := s.status()
				if err != nil {
					t.Error(err)
					return
				}
				if st.Generation < least || st.State == gracerun.StateStarting || st.State == gracerun.StateDone {
					t.Errorf("generation %d, %v, answers after generation %d had committed", st.Generation, st.State, least)
				}
			}
		})
	}
	for g := 2; g <= 6; g++ {
		s.hup()
		s.serves(g)
		mu.Lock()
		newest = g
		mu.Unlock()
	}
	wg.Wait()
	after, err := os.Stat(s.controlSocket())
	s.must(err)
	if !os.SameFile(before, after) {
		t.Error("the socket's file was replaced")
	}
	s.finish()
}

func TestControlUpgrade(t *testing.T) {
	t.Parallel()
	s := newScene(t, times{}, nil)
	events := s.upgradeByControl()
	for _, want := range []string{"accepted", "started", "serving", "probation", "committed"} {
		if !slices.Contains(events, want) {
			t.Errorf("no event %q in %q", want, events)
		}
	}
	if events[len(events)-1] != "committed" {
		t.Errorf("the last of %q is not the result", events)
	}
	s.serves(2)
	s.must(s.InstallText("#!/bin/sh\necho the disk is full >&2\nexit 3\n", 0o755))
	events = s.upgradeByControl()
	last := events[len(events)-1]
	if !strings.HasPrefix(last, "failed start") || !strings.Contains(last, "exit status 3") || !strings.Contains(last, "the disk is full") {
		t.Errorf("the result is %q", last)
	}
	st, err := s.status()
	s.must(err)
	if st.Generation != 2 || st.State != gracerun.StateReady || len(st.Upgrades) != 2 || st.Upgrades[0].To != 2 || !strings.Contains(st.LastUpgrade.Error, "the disk is full") {
		t.Errorf("status: %+v", st)
	}
	s.must(s.Install(build(t, "test/testdata/service")))
	s.upgradeByControl()
	s.serves(3)
	if st, err = s.status(); err != nil || len(st.Upgrades) != 3 || st.Upgrades[1].Error == "" {
		t.Errorf("the successor knows of %+v, %v", st.Upgrades, err)
	}
	s.finish()
}

// TestControlShowsOlder: what an older generation has in hand, by name.
func TestControlShowsOlder(t *testing.T) {
	t.Parallel()
	s := newScene(t, times{}, nil)
	request := s.slowRequest()
	old := s.owner()
	s.hup()
	s.serves(2)
	s.until(func() bool {
		st, err := s.status()
		s.must(err)
		if len(st.Generations) != 2 {
			t.Fatalf("generations: %+v", st.Generations)
		}
		g := st.Generations[0]
		return g.PID == old && g.State == gracerun.StateDraining && len(g.InHand) == 1 && g.InHand[0].Count == 1 && strings.Contains(g.InHand[0].Name, "tcp")
	}, "the status never shows what generation 1 has in hand")
	request.finish()
	s.finish()
}

// TestControlHangs: clients that send half a request, or nothing, or read no
// answer, keep no process.
func TestControlHangs(t *testing.T) {
	t.Parallel()
	s := newScene(t, times{}, nil)
	for _, text := range []string{"", "GET /status HTT", "POST /upgrade HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", "GET /events HTTP/1.1\r\nHost: x\r\n\r\n"} {
		conn, err := net.Dial("unix", s.controlSocket())
		s.must(err)
		defer conn.Close()
		_, err = io.WriteString(conn, text)
		s.must(err)
	}
	old := s.owner()
	s.hup()
	s.serves(2)
	s.gone(old)
	s.finish()
}

// TestControlStop: the answer comes before the end, and nothing is left.
func TestControlStop(t *testing.T) {
	t.Parallel()
	s := newScene(t, times{}, nil)
	request := s.slowRequest()
	body, err := s.ask("POST", "/stop")
	s.must(err)
	body.Close()
	s.until(func() bool {
		st, err := s.status() // it answers to the end
		s.must(err)
		return st.State == gracerun.StateDraining && !st.Deadline.IsZero() && time.Until(st.Deadline) < 10*time.Second
	}, "it does not drain")
	request.finish()
	s.must(s.Gone(s.ctx))
	if _, err := os.Lstat(s.controlSocket()); err == nil {
		t.Error("the socket's file is still there")
	}
}

// TestControlSocketDeleted: the next upgrade makes it again.
func TestControlSocketDeleted(t *testing.T) {
	t.Parallel()
	s := newScene(t, times{}, nil)
	s.must(os.Remove(s.controlSocket()))
	s.hup()
	s.serves(2)
	st, err := s.status()
	s.must(err)
	info, err := os.Stat(s.controlSocket())
	s.must(err)
	if st.Generation != 2 || info.Mode().Type() != fs.ModeSocket || info.Mode().Perm() != 0o600 {
		t.Errorf("generation %d answers at %v", st.Generation, info.Mode())
	}
	s.finish()
}

// TestControlStale: the file that a killed service left is replaced.
func TestControlStale(t *testing.T) {
	t.Parallel()
	s := newScene(t, times{}, nil)
	s.must(s.Signal(s.owner(), syscall.SIGKILL))
	s.must(s.Gone(s.ctx))
	if _, err := os.Lstat(s.controlSocket()); err != nil {
		t.Errorf("a killed process removed its socket: %v", err)
	}
	s.must(s.Restart())
	s.serves(1)
	st, err := s.status()
	s.must(err)
	if st.PID != s.owner() {
		t.Errorf("pid %d answers", st.PID)
	}
	s.finish()
}
