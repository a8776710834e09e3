//go:build linux

package queue_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/test/harness"
)

// A service is one of the examples, and what was done to it.
type service struct {
	*harness.Service
	t      *testing.T
	ctx    context.Context
	client http.Client // of its control socket

	upgrades, kills int
	heirs           int // kills after which a successor went on
}

// start runs an example with these arguments. It may drain for so long.
func start(t *testing.T, example string, drain time.Duration, args ...string) *service {
	t.Helper()
	binary, err := builder.Build("./" + example)
	if err != nil {
		t.Fatal(err)
	}
	most := 2 * time.Minute
	if patient() {
		most = 6 * time.Minute
	}
	ctx, cancel := context.WithTimeout(t.Context(), most)
	t.Cleanup(cancel)
	s := &service{t: t, ctx: ctx}
	s.Service, err = harness.Start(harness.Config{
		Binary: binary,
		Args:   append([]string{"-rundir", harness.RunDir, "-drain", drain.String(), "-probation", "20ms", "-workers", "12"}, args...),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	control := filepath.Join(s.RunDir, example+".sock")
	s.client = http.Client{Timeout: time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", control)
		},
	}}
	s.ready()
	return s
}

func (s *service) close() {
	if s.t.Failed() {
		s.t.Log(s.Log())
	}
	if err := s.Close(); err != nil && !s.t.Failed() {
		s.t.Error(err)
	}
}

// must ends the test.
func (s *service) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// await calls f until it returns nil.
func (s *service) await(what string, f func() error) {
	s.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			s.t.Fatalf("waiting for %s: %v", what, err)
		}
	}
}

// A status is what the control socket says.
type status struct {
	PID, Generation int
	State           string
	UpgradesFailed  int `json:"upgrades_failed"`
}

func (s *service) status() (now status, err error) {
	req, err := http.NewRequestWithContext(s.ctx, "GET", "http://service/status", nil)
	if err != nil {
		return now, err
	}
	res, err := s.client.Do(req)
	if err != nil {
		return now, err
	}
	defer res.Body.Close()
	return now, json.NewDecoder(res.Body).Decode(&now)
}

// ready waits until the service is, with no upgrade under way.
func (s *service) ready() (now status) {
	s.t.Helper()
	s.await("the service", func() (err error) {
		if now, err = s.status(); err == nil && now.State != "ready" {
			err = fmt.Errorf("it is %s", now.State)
		}
		return err
	})
	return now
}

// upgrade sends SIGHUP and waits until the next generation owns the service.
func (s *service) upgrade() {
	s.t.Helper()
	old := s.ready()
	s.must(s.Signal(old.PID, syscall.SIGHUP))
	s.await("an upgrade", func() error {
		now, err := s.status()
		switch {
		case err != nil:
			return err
		case now.UpgradesFailed > old.UpgradesFailed:
			s.t.Fatal("an upgrade failed")
		case now.Generation != old.Generation+1 || now.State != "ready":
			return fmt.Errorf("generation %d is %s", now.Generation, now.State)
		}
		return nil
	})
	s.upgrades++
}

// lives waits until it is clear what becomes of a service whose owner was
// killed: a successor that has begun goes on, or all processes end and with them
// the lock.
func (s *service) lives(killed int) (lives bool) {
	s.t.Helper()
	s.await("what a kill leaves", func() error {
		left, err := s.Processes()
		if err != nil {
			return err
		}
		if len(left) == 0 {
			holder, err := s.PID()
			if err == nil && holder != 0 {
				err = fmt.Errorf("pid %d holds the lock", holder)
			}
			return err
		}
		now, err := s.status()
		if err == nil && now.PID != killed && now.State == "ready" {
			lives = true
			return nil
		}
		return errors.Join(err, fmt.Errorf("left are %v", left))
	})
	return lives
}
