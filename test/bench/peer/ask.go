package peer

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Ask returns the pid that answers GET / at an address, on a connection of its
// own. It takes no longer than ctx, nor 5 s.
func Ask(ctx context.Context, address string) (pid int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	if _, err := fmt.Sscanf(string(body), "generation 0 pid %d", &pid); err != nil {
		return 0, fmt.Errorf("GET / answers %.80q", body)
	}
	return pid, nil
}

// await waits until every address answers, and notes who does. It does not wait
// for a process that has exited, unless that is how a daemon starts.
func (s *Server) await(ctx context.Context) error {
	if s.proxy == nil || !s.proxy.daemon {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		var watch sync.WaitGroup
		defer watch.Wait()
		defer cancel(nil)
		watch.Go(func() {
			if s.Exited(ctx, s.First) == nil {
				cancel(errors.New("it has exited"))
			}
		})
	}
	return s.awaitAll(ctx)
}

func (s *Server) awaitAll(ctx context.Context) error {
	for _, address := range s.HTTP {
		pid, err := awaitAnswer(ctx, address)
		if err != nil {
			return err
		}
		s.Answered(pid)
	}
	if s.TLS != "" {
		d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
		if err := awaitConn(ctx, &d, s.TLS); err != nil {
			return err
		}
	}
	if s.Raw != "" {
		if err := awaitConn(ctx, new(net.Dialer), s.Raw); err != nil {
			return err
		}
	}
	return s.AwaitHearing(ctx)
}

type dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

func awaitConn(ctx context.Context, d dialer, address string) error {
	return poll(ctx, func() error {
		conn, err := d.DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

func awaitAnswer(ctx context.Context, address string) (pid int, err error) {
	err = poll(ctx, func() (err error) {
		pid, err = Ask(ctx, address)
		return err
	})
	return pid, err
}

// poll calls f until it returns nil. When ctx ends, the error is its cause and f's
// last one.
func poll(ctx context.Context, f func() error) error {
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// AwaitNew asks at an address until a process answers that is none of old, and
// returns its pid and when its answer was complete. There is a pause between two
// questions; 0 = each is asked as soon as the last one is answered. A failed
// question is none.
func (s *Server) AwaitNew(ctx context.Context, address string, old []int, pause time.Duration) (pid int, at time.Time, err error) {
	for {
		pid, err = Ask(ctx, address)
		at = time.Now()
		if err == nil && !slices.Contains(old, pid) {
			s.Answered(pid)
			return pid, at, nil
		}
		if pause > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
		if ctx.Err() != nil {
			return 0, at, fmt.Errorf("no new process answers %w", context.Cause(ctx))
		}
	}
}
