package gracerun_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun"
)

// TestMain fails the run if the tests leave goroutines or descriptors behind.
func TestMain(m *testing.M) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP) // package signal's goroutine stays, once it is there
	signal.Stop(signals)
	goroutines, files := runtime.NumGoroutine(), descriptors()
	code := m.Run()
	if code == 0 {
		code = leaks(goroutines, files)
	}
	os.Exit(code)
}

func leaks(goroutines, files int) int {
	limit := time.Now().Add(5 * time.Second) // what was told to end takes a moment
	for runtime.NumGoroutine() > goroutines || descriptors() > files {
		if time.Now().After(limit) {
			fmt.Fprintf(os.Stderr, "leak: %d descriptors, were %d; goroutines, were %d:\n", descriptors(), files, goroutines)
			pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
			return 1
		}
		runtime.GC() // io.Copy between connections keeps its pipes (splice(2)) until then
		time.Sleep(10 * time.Millisecond)
	}
	return 0
}

// descriptors counts the open ones where that is possible. The runtime's poller
// is opened with the first socket.
func descriptors() int {
	if ln, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		defer ln.Close()
	}
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}

// A service is an App that runs in this process.
type service struct {
	t    *testing.T
	app  *gracerun.App
	end  context.CancelFunc // of Run's context
	done chan struct{}      // closed when Run has returned err
	err  error
}

// launch runs app, which gets a run directory and a logger unless it has them.
func launch(t *testing.T, app *gracerun.App) *service {
	t.Helper()
	if app.RunDir == "" {
		app.RunDir = t.TempDir()
	}
	if app.Logger == nil {
		app.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, end := context.WithCancel(t.Context())
	s := &service{t: t, app: app, end: end, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.err = app.Run(ctx)
	}()
	t.Cleanup(func() { end(); <-s.done })
	return s
}

// start launches app and waits until it is ready.
func start(t *testing.T, app *gracerun.App) *service {
	t.Helper()
	s := launch(t, app)
	select {
	case <-app.Ready():
	case <-s.done:
		t.Fatalf("not ready: %v", s.err)
	}
	return s
}

// wait returns Run's error.
func (s *service) wait() error {
	<-s.done
	return s.err
}

// stop ends the service, which is to end well.
func (s *service) stop() {
	s.t.Helper()
	s.end()
	if err := s.wait(); err != nil {
		s.t.Errorf("Run returned %v", err)
	}
}

// bound is the real address of the i-th socket.
func (s *service) bound(i int) string {
	s.t.Helper()
	sockets := s.app.Status().Sockets
	if i >= len(sockets) {
		s.t.Fatalf("there are %d sockets: %v", len(sockets), sockets)
	}
	return sockets[i].Bound
}

// run runs app to the end, for one that is not to start.
func run(t *testing.T, app *gracerun.App) error {
	t.Helper()
	return launch(t, app).wait()
}

// expectAll compares an error's text with all that is to be in it.
func expectAll(t *testing.T, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want %q", want)
		return
	}
	for _, text := range want {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q is not in: %v", text, err)
		}
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// certificate writes a certificate for 127.0.0.1 and its key to files.
func certificate(t testing.TB) (certFile, keyFile string, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	var buf bytes.Buffer
	check(t, pem.Encode(&buf, &pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	check(t, os.WriteFile(certFile, buf.Bytes(), 0o600))
	roots = x509.NewCertPool()
	if !roots.AppendCertsFromPEM(buf.Bytes()) {
		t.Fatal(errors.New("the certificate cannot be read back"))
	}
	buf.Reset()
	check(t, pem.Encode(&buf, &pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	check(t, os.WriteFile(keyFile, buf.Bytes(), 0o600))
	return certFile, keyFile, roots
}
