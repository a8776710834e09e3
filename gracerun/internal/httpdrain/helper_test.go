package httpdrain_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/pprof"
	"sync"
	"testing"
	"time"
)

// TestMain fails the run if the tests leave goroutines or descriptors behind.
func TestMain(m *testing.M) {
	serverTLS() // its entropy descriptor, if there is one, is not a leak
	fds := descriptors()
	code := m.Run()
	if code == 0 {
		code = leaks(fds)
	}
	os.Exit(code)
}

func leaks(fds int) int {
	limit := time.Now().Add(3 * time.Second) // connections of clients take a moment to notice their end
	for runtime.NumGoroutine() > 2 || descriptors() > fds {
		if time.Now().After(limit) {
			fmt.Fprintf(os.Stderr, "leak: %d descriptors, were %d; goroutines:\n", descriptors(), fds)
			pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
			return 1
		}
		<-time.After(10 * time.Millisecond)
	}
	return 0
}

// descriptors counts the open ones where that is possible. The runtime's poller is opened with the first socket.
func descriptors() int {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		defer ln.Close()
	}
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}

func listen(t testing.TB) *net.TCPListener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.(*net.TCPListener)
}

var certificate = sync.OnceValues(func() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
})

func serverTLS() *tls.Config {
	cert, err := certificate()
	if err != nil {
		panic(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

func protocols(names ...string) *http.Protocols {
	p := new(http.Protocols)
	for _, name := range names {
		switch name {
		case "http1":
			p.SetHTTP1(true)
		case "h2":
			p.SetHTTP2(true)
		case "h2c":
			p.SetUnencryptedHTTP2(true)
		}
	}
	return p
}

func discard() *log.Logger { return log.New(io.Discard, "", 0) }
