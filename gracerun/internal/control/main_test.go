package control_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"sync"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun/internal/control"
)

// TestMain plays another user's client or server for the tests, and fails the
// run if they leave goroutines behind.
func TestMain(m *testing.M) {
	helper()
	flag.Set("test.parallel", "6") // most of the time the tests wait
	goroutines := runtime.NumGoroutine()
	code := m.Run()
	limit := time.Now().Add(5 * time.Second)
	for code == 0 && runtime.NumGoroutine() > goroutines {
		if time.Now().After(limit) {
			fmt.Fprintln(os.Stderr, "leak: goroutines:")
			pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
			code = 1
		}
		time.Sleep(10 * time.Millisecond)
	}
	os.Exit(code)
}

// A fake is a service whose state is what the test says.
type fake struct {
	mu       sync.Mutex
	status   control.Status
	changed  chan struct{}
	draining chan struct{}
	upgrade  func(ctx context.Context, progress func(control.Event)) error
	reload   func(ctx context.Context) error
	reopen   func() error
	tell     func(verb, name string) error // nil: it has no tasks to pause
	stopped  chan string
}

func newFake() *fake {
	began := time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	return &fake{
		changed: make(chan struct{}), draining: make(chan struct{}), stopped: make(chan string, 1),
		status: control.Status{
			Name: "hello", Version: "v1", PID: 4711, Generation: 3, State: "ready", StartedAt: began,
			Generations: []control.Generation{{Number: 3, PID: 4711, Version: "v1", State: "ready", Since: began}},
		},
	}
}

func (f *fake) service() control.Service {
	told := func(verb string) func(string) error {
		if f.tell == nil {
			return nil
		}
		return func(name string) error { return f.tell(verb, name) }
	}
	return control.Service{
		Pause: told("pause"), Resume: told("resume"), Trigger: told("trigger"),
		Status: func() control.Status {
			f.mu.Lock()
			defer f.mu.Unlock()
			status := f.status
			status.Uptime = time.Since(status.StartedAt).Seconds()
			return status
		},
		Changed:  func() <-chan struct{} { f.mu.Lock(); defer f.mu.Unlock(); return f.changed },
		Draining: func() <-chan struct{} { f.mu.Lock(); defer f.mu.Unlock(); return f.draining },
		Upgrade:  f.upgrade,
		Reload:   f.reload,
		Reopen:   f.reopen,
		Stop:     func(why string) { f.stopped <- why },
	}
}

// set changes the status, and says so.
func (f *fake) set(change func(*control.Status)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.status)
	close(f.changed)
	f.changed = make(chan struct{})
}

// A socket is a control socket that answers.
type socket struct {
	t    *testing.T
	path string
	log  *lockedBuffer
	*control.Client
}

// open serves f on a socket, with a server that change may alter.
func open(t *testing.T, f *fake, change ...func(*http.Server)) *socket {
	t.Helper()
	return openAt(t, f, filepath.Join(t.TempDir(), "hello.sock"), change...)
}

func openAt(t *testing.T, f *fake, path string, change ...func(*http.Server)) *socket {
	t.Helper()
	s := &socket{t: t, path: path, log: new(lockedBuffer)}
	ln, err := net.Listen("unix", s.path)
	check(t, err)
	srv := control.NewServer(f.service(), slog.New(slog.NewTextHandler(s.log, nil)))
	for _, c := range change {
		c(srv)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve returned %v", err)
		}
	}()
	t.Cleanup(func() { srv.Close(); <-done })
	s.Client = control.NewClient(s.path)
	return s
}

// dial opens a connection that is closed with the test.
func (s *socket) dial() net.Conn {
	s.t.Helper()
	c, err := net.Dial("unix", s.path)
	check(s.t, err)
	s.t.Cleanup(func() { c.Close() })
	check(s.t, c.SetDeadline(time.Now().Add(20*time.Second)))
	return c
}

// ask sends a request as it would any HTTP client, and returns the whole answer.
func (s *socket) ask(method, path string, body io.Reader) (*http.Response, string) {
	s.t.Helper()
	tr := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", s.path)
		},
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://control"+path, body)
	check(s.t, err)
	res, err := tr.RoundTrip(req)
	check(s.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	check(s.t, err)
	return res, string(text)
}

// reason is the text of an answer that is an error.
func reason(t *testing.T, res *http.Response, body string) string {
	t.Helper()
	var e map[string]string
	if err := json.Unmarshal([]byte(body), &e); err != nil || len(e) != 1 || e["error"] == "" {
		t.Errorf("%s: the body is no error: %q (%v)", res.Status, body, err)
	}
	if got := res.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("%s: Content-Type %q", res.Status, got)
	}
	return e["error"]
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// within fails the test if c does not deliver in time.
func within[T any](t *testing.T, d time.Duration, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(d):
		t.Fatalf("no %s within %s", what, d)
	}
	return v
}
