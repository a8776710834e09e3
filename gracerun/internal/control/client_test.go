package control_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun/internal/control"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// TestNobodyThere: the error is that of connect(2), and names the socket.
func TestNobodyThere(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "hello.sock")
	c := control.NewClient(path)
	_, err := c.Status(t.Context())
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("no file: %v", err)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	check(t, err)
	ln.SetUnlinkOnClose(false)
	ln.Close()
	if err := c.Stop(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody listens: %v", err)
	}
	check(t, os.Remove(path))
	check(t, os.WriteFile(path, nil, 0o600))
	if _, err := c.Upgrade(t.Context(), nil); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a file that is no socket: %v", err)
	}
}

// TestHungServer: a process that is stopped accepts connections, the kernel does
// it for it. A call lasts as long as its context.
func TestHungServer(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "hello.sock")
	ln, err := net.Listen("unix", path)
	check(t, err)
	defer ln.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = control.NewClient(path).Status(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
}

// TestStrangeServer: an answer that is none is an error, and does not go on for
// ever.
func TestStrangeServer(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "hello.sock")
	ln, err := net.Listen("unix", path)
	check(t, err)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stop" {
			http.Error(w, "a proxy's\nown words", http.StatusBadGateway)
			return
		}
		for {
			if _, err := w.Write([]byte(`[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[`)); err != nil {
				return
			}
		}
	})}
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(ln) }()
	defer func() { srv.Close(); <-done }()
	c := control.NewClient(path)
	if status, err := c.Status(t.Context()); err == nil {
		t.Errorf("the status is %+v", status)
	}
	var e *control.StatusError
	if err := c.Stop(t.Context()); !errors.As(err, &e) || e.Code != 502 || e.Message != "a proxy's\nown words" {
		t.Errorf("the error is %#v", err)
	}
}
