package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"syscall"
	"time"

	"github.com/gracerun/grace/pidfile"
)

// Until calls f until it returns nil, for what has no event: less and less often, as
// the services are to have the processors that they wait for. When ctx ends, f's last
// error says what was missing.
func Until(ctx context.Context, f func() error) error {
	const seldom = 20 * time.Millisecond
	for pause := time.Millisecond; ; pause = min(pause+pause/4, seldom) {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// PID returns the process that owns the service, as the pid file and its lock
// show; 0 = nobody does.
func (s *Service) PID() (int, error) { return pidfile.Read(s.PIDFile) }

// Owner waits until a process other than these owns the service: right after an
// upgrade the pid file may still name the predecessor, and then nobody is known
// to own it.
func (s *Service) Owner(ctx context.Context, other ...int) (pid int, err error) {
	err = Until(ctx, func() error {
		if pid, err = s.PID(); err != nil {
			return err
		}
		if slices.Contains(append(other, 0), pid) {
			return fmt.Errorf("%d owns the service", pid)
		}
		return nil
	})
	return pid, err
}

// Generation waits until the nth generation owns the service and answers GET /,
// and returns its pid.
func (s *Service) Generation(ctx context.Context, n int) (pid int, err error) {
	err = Until(ctx, func() error {
		generation, answered, err := s.Who(ctx)
		if err != nil {
			return err
		}
		owner, err := s.PID()
		if err != nil {
			return err
		}
		pid = answered
		if generation != n || pid != owner {
			return fmt.Errorf("generation %d (pid %d) answers, pid %d owns the service", generation, answered, owner)
		}
		return nil
	})
	return pid, err
}

// Upgrade sends SIGHUP to the owner and waits until the next generation owns the
// service. What is running must answer GET /.
func (s *Service) Upgrade(ctx context.Context) (pid int, err error) {
	old, err := s.Owner(ctx)
	if err != nil {
		return 0, err
	}
	generation := 0
	err = Until(ctx, func() (err error) {
		var by int
		if generation, by, err = s.Who(ctx); err == nil && by != old {
			err = fmt.Errorf("pid %d answers, not the owner %d", by, old)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	if err := s.Signal(old, syscall.SIGHUP); err != nil {
		return 0, err
	}
	return s.Generation(ctx, generation+1)
}

// Who asks GET / on a new connection who answers.
func (s *Service) Who(ctx context.Context) (generation, pid int, err error) {
	text, err := s.Get(ctx, "/")
	if err != nil {
		return 0, 0, err
	}
	if n, _ := fmt.Sscanf(text, "generation %d pid %d", &generation, &pid); n < 2 {
		return 0, 0, fmt.Errorf("GET / answers %.80q", text)
	}
	return generation, pid, nil
}

// Get returns the answer to a GET on a new connection.
func (s *Service) Get(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", "http://service"+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != 200 {
		err = errors.New(resp.Status)
	}
	return string(body), err
}

// Address returns where the service listens: as configured, or the first TCP
// socket of the owner.
func (s *Service) Address() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.address != "" {
		return s.address, nil
	}
	pid, err := s.PID()
	if err != nil {
		return "", err
	}
	if pid == 0 {
		return "", errors.New("nobody owns the service")
	}
	all, err := Listening(pid)
	if err != nil {
		return "", err
	}
	if len(all) == 0 {
		return "", fmt.Errorf("pid %d listens on no TCP socket", pid)
	}
	s.address = all[0]
	return s.address, nil
}

func (s *Service) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	address, err := s.Address()
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	return d.DialContext(ctx, s.cfg.Network, address)
}

// Gone waits until no process of the service is left.
func (s *Service) Gone(ctx context.Context) error {
	return Until(ctx, func() error {
		left, err := s.Processes()
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("still there: %v", left)
		}
		return err
	})
}
