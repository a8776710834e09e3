package control_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun/internal/control"
)

// TestFullQueue: a listener whose queue is full refuses connections for the
// moment (EAGAIN): the client waits for its turn.
func TestFullQueue(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "hello.sock")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	check(t, err)
	file := os.NewFile(uintptr(fd), path)
	check(t, syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}))
	check(t, syscall.Listen(fd, 1))
	for {
		c, err := net.Dial("unix", path)
		if err != nil {
			break // full
		}
		defer c.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := control.NewClient(path).Status(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it did not wait: %v", err)
	}
	asked := make(chan error, 1)
	go func() {
		_, err := control.NewClient(path).Status(t.Context())
		asked <- err
	}()
	ln, err := net.FileListener(file)
	check(t, err)
	check(t, file.Close())
	srv := control.NewServer(newFake().service(), quiet())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	check(t, within(t, 5*time.Second, "answer", asked))
	check(t, srv.Close())
	if err := <-done; err != http.ErrServerClosed {
		t.Error(err)
	}
}
