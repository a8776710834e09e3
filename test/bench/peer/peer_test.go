package peer_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/load"
)

func start(t *testing.T, b *peer.Builder, k *peer.Kind, cfg peer.Config) (context.Context, *peer.Server) {
	t.Helper()
	if err := k.Missing(); err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	s, err := b.Start(ctx, k, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.Log())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if left, err := s.Processes(); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
		if _, err := os.Stat(s.Root); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", s.Root, err)
		}
	})
	return ctx, s
}

func upgrade(ctx context.Context, t *testing.T, s *peer.Server) (pid int) {
	t.Helper()
	old, err := s.PIDs()
	if err := errors.Join(err, s.Trigger()); err != nil {
		t.Fatal(err)
	}
	pid, _, err = s.AwaitNew(ctx, s.HTTP[0], old, 0)
	if err := errors.Join(err, s.AwaitHearing(ctx)); err != nil {
		t.Fatal(err)
	}
	return pid
}

// settled waits until there are n processes.
func settled(ctx context.Context, t *testing.T, s *peer.Server, n int) {
	t.Helper()
	for {
		all, err := s.Processes()
		if err != nil {
			t.Fatal(err)
		}
		if len(all) == n {
			return
		}
		if s.Name == "facebookgo/grace" {
			connect(ctx, s)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("want %d processes: %v", n, all)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// connect opens connections to all addresses. It is for those whose listeners
// become blocking when they start a process: the old one may then hang in an
// accept until there is another connection.
func connect(ctx context.Context, s *peer.Server) {
	for _, address := range append([]string{s.TLS}, s.HTTP...) {
		var d net.Dialer
		if conn, err := d.DialContext(ctx, "tcp", address); err == nil {
			conn.Close()
		}
	}
}

// answers makes a request of each sort that the server can answer.
func answers(t *testing.T, s *peer.Server) {
	t.Helper()
	insecure := &tls.Config{InsecureSkipVerify: true}
	clients := map[string]load.Client{
		"echo":   &load.Fresh{Target: load.Target{Address: s.HTTP[0]}},
		"sleep":  &load.Slow{Target: load.Target{Address: s.HTTP[0]}, Sleep: time.Millisecond},
		"stream": &load.Stream{Target: load.Target{Address: s.HTTP[0]}, For: 150 * time.Millisecond},
	}
	if s.TLS != "" {
		clients["TLS"] = &load.Fresh{Target: load.Target{Address: s.TLS, TLS: insecure}}
		clients["HTTP/2"] = &load.HTTP2{Target: load.Target{Address: s.TLS, TLS: insecure}}
	}
	if s.Raw != "" {
		clients["raw"] = &load.TCP{Target: load.Target{Address: s.Raw}}
	}
	for name, client := range clients {
		if o := client.Do(); o.Failure != nil {
			t.Errorf("%s: %v", name, o.Failure)
		}
		if c, ok := client.(io.Closer); ok {
			c.Close() // else it would hold the old process
		}
	}
	if s.Can(peer.TLS) != (s.TLS != "") || s.Can(peer.Raw) != (s.Raw != "") {
		t.Errorf("TLS at %q, raw TCP at %q", s.TLS, s.Raw)
	}
}

func TestKinds(t *testing.T) {
	var b peer.Builder
	t.Cleanup(func() { b.Close() })
	for _, k := range peer.Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			ctx, s := start(t, &b, k, peer.Config{Listeners: 2, TLS: true, Raw: true, Probation: 50 * time.Millisecond})
			version, err := k.Version(&b)
			if err != nil {
				t.Error(err)
			}
			t.Log(version)
			answers(t, s)
			if !k.Can(peer.Upgrade) {
				if err := s.Trigger(); !errors.Is(err, errors.ErrUnsupported) {
					t.Error(err)
				}
				return
			}
			before, err := s.Processes()
			if err != nil {
				t.Fatal(err)
			}
			seen := map[int]bool{s.Newest(): true}
			for range 3 {
				pid := upgrade(ctx, t, s)
				if seen[pid] {
					t.Errorf("pid %d is not new", pid)
				}
				seen[pid] = true
				if k.Name == "endless" {
					return // with several servers, one of them may miss the TERM: its channel has no buffer
				}
				settled(ctx, t, s, len(before))
				answers(t, s)
			}
		})
	}
}

// What is broken shows in the log. What is mended works again, where anybody is
// left to start it.
func TestBreakAndMend(t *testing.T) {
	var b peer.Builder
	t.Cleanup(func() { b.Close() })
	for _, k := range peer.Kinds() {
		for _, how := range peer.Breakages() {
			if testing.Short() && how != peer.Exit {
				continue
			}
			t.Run(k.Name+" "+how.String(), func(t *testing.T) {
				ctx, s := start(t, &b, k, peer.Config{Ready: 500 * time.Millisecond})
				if !k.CanBreak(how) {
					if err := s.Break(how); !errors.Is(err, errors.ErrUnsupported) {
						t.Error(err)
					}
					return
				}
				if err := s.Break(how); err != nil {
					t.Fatal(err)
				}
				triggerUntilLogged(ctx, t, s, how)
				if err := s.Mend(); err != nil {
					t.Fatal(err)
				}
				if comesBack(k, how) {
					awaitUpgrade(ctx, t, s)
				}
			})
		}
	}
}

// triggerUntilLogged asks for an upgrade until what it meets shows in the log: some
// serve before they hear signals.
func triggerUntilLogged(ctx context.Context, t *testing.T, s *peer.Server, how peer.Breakage) {
	t.Helper()
	said := "broken"
	if how == peer.Missing {
		said = "o such file"
	}
	for from := len(s.Log()); ; {
		if err := s.Trigger(); err != nil {
			t.Fatal(err)
		}
		once, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := s.Logged(once, from, said)
		cancel()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// comesBack reports whether a kind can be upgraded after an upgrade has failed.
// With the others, somebody has to start the service again, or to kill what hangs.
func comesBack(k *peer.Kind, how peer.Breakage) bool {
	switch k.Name {
	case "tableflip":
		return how != peer.Late
	case "nginx USR2":
		return how != peer.Hang
	case "overseer", "endless", "facebookgo/grace", "raw limit":
		return false
	}
	return true
}

// awaitUpgrade asks for an upgrade until there is one: a failed one may not be
// over yet.
func awaitUpgrade(ctx context.Context, t *testing.T, s *peer.Server) {
	t.Helper()
	old, err := s.PIDs()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if err := s.Trigger(); err != nil {
			t.Fatal(err)
		}
		once, cancel := context.WithTimeout(ctx, time.Second)
		_, _, err := s.AwaitNew(once, s.HTTP[0], old, 0)
		err = errors.Join(err, s.AwaitHearing(once))
		cancel()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

func TestThousandListeners(t *testing.T) {
	var b peer.Builder
	t.Cleanup(func() { b.Close() })
	for _, name := range []string{"gracerun", "tableflip", "raw limit", "supervisor", "nginx HUP", "HAProxy reload"} {
		t.Run(name, func(t *testing.T) {
			ctx, s := start(t, &b, peer.Find(name), peer.Config{Listeners: 1000})
			upgrade(ctx, t, s)
			var err error
			for range 10 { // some of them lose a request
				if _, err = peer.Ask(ctx, s.HTTP[999]); err == nil {
					return
				}
			}
			t.Error(err)
		})
	}
}
