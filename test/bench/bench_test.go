//go:build linux

// Package bench compares, side by side and in one run. Every figure that counts
// is a ratio:
//
//	go test -bench . ./test/bench
package bench_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain makes this process the one to which orphaned generations fall, so
// that each can be ended by its pid.
func TestMain(m *testing.M) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "prctl:", err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(binaryDir())
	os.Exit(code)
}

var binaryDir = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "gracerun-bench-")
	if err != nil {
		panic(err)
	}
	return dir
})

var binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(binaryDir(), "server")
	out, err := exec.Command("go", "build", "-o", path, "./server").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// A service is one kind of server that runs; pid is its newest process.
type service struct {
	tb   testing.TB
	addr string
	pid  int
}

func start(tb testing.TB, kind string) *service {
	tb.Helper()
	path, err := binary()
	if err != nil {
		tb.Fatal(err)
	}
	s := &service{tb: tb, addr: freeAddress(tb)}
	cmd := exec.Command(path, "-kind", kind, "-addr", s.addr, "-rundir", tb.TempDir())
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.stop)
	s.pid = cmd.Process.Pid
	for {
		if pid, err := s.ask(); err == nil && pid == s.pid {
			return s
		}
	}
}

func freeAddress(tb testing.TB) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// stop ends the newest process; the older ones have left on their own.
func (s *service) stop() {
	unix.Kill(s.pid, unix.SIGKILL)
	reap(s.pid)
}

func reap(pid int) {
	var status unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &status, 0, nil); err != unix.EINTR {
			return
		}
	}
}

// ask returns the pid that answers on a fresh connection.
func (s *service) ask() (int, error) {
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(string(body), "pid ")))
}

// upgrade returns the time from the signal to the first answer of a new process.
func (s *service) upgrade() time.Duration {
	old := s.pid
	begin := time.Now()
	if err := unix.Kill(old, unix.SIGHUP); err != nil {
		s.tb.Fatal(err)
	}
	for s.pid == old {
		if pid, err := s.ask(); err == nil {
			s.pid = pid
		}
		if time.Since(begin) > 10*time.Second {
			s.tb.Fatal("no new process answers")
		}
	}
	took := time.Since(begin)
	reap(old)
	return took
}

// BenchmarkUpgrade compares the time from SIGHUP to the first answer of the new
// process with that of the raw limit. The two take turns.
func BenchmarkUpgrade(b *testing.B) {
	ours, raw := start(b, "gracerun"), start(b, "raw")
	var a, c []time.Duration
	for b.Loop() {
		a = append(a, ours.upgrade())
		c = append(c, raw.upgrade())
	}
	b.ReportMetric(float64(median(a).Microseconds())/1e3, "gracerun-ms")
	b.ReportMetric(float64(median(c).Microseconds())/1e3, "raw-ms")
	b.ReportMetric(float64(median(a))/float64(median(c)), "ratio")
	b.ReportMetric(0, "ns/op")
}

func median(d []time.Duration) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[len(s)/2]
}

// BenchmarkSteady compares requests per second with plain net/http: in each
// round both serve the same number of requests on the same number of
// connections, one after the other.
func BenchmarkSteady(b *testing.B) {
	ours, plain := start(b, "gracerun"), start(b, "plain")
	const conns, requests = 4, 2000
	var ratios []float64
	for b.Loop() {
		a := hammer(b, ours, conns, requests)
		c := hammer(b, plain, conns, requests)
		ratios = append(ratios, float64(c)/float64(a))
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "throughput-ratio")
	b.ReportMetric(0, "ns/op")
}

func hammer(tb testing.TB, s *service, conns, requests int) time.Duration {
	begin := time.Now()
	var wg sync.WaitGroup
	for range conns {
		wg.Go(func() {
			if err := keepAsking(s.addr, requests); err != nil {
				tb.Error(err)
			}
		})
	}
	wg.Wait()
	return time.Since(begin)
}

func keepAsking(addr string, requests int) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	for range requests {
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: bench\r\n\r\n"); err != nil {
			return err
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkGone measures how long the old process stays after its last answer
// when nothing idles: a request is in its hands when the upgrade begins.
func BenchmarkGone(b *testing.B) {
	s := start(b, "gracerun")
	var gone []time.Duration
	for b.Loop() {
		fd, err := unix.PidfdOpen(s.pid, 0)
		if err != nil {
			b.Fatal(err)
		}
		answered := make(chan time.Time)
		sent := make(chan struct{})
		go func() { answered <- s.askSlowly(sent) }()
		<-sent
		exited := make(chan time.Time)
		go func() { exited <- awaitExit(fd) }()
		s.upgrade()
		last := <-answered
		gone = append(gone, (<-exited).Sub(last))
		unix.Close(fd)
	}
	b.ReportMetric(float64(median(gone).Microseconds())/1e3, "gone-ms")
	b.ReportMetric(float64(slices.Max(gone).Microseconds())/1e3, "gone-max-ms")
	b.ReportMetric(0, "ns/op")
}

// askSlowly sends a request that takes 100 ms and returns when its answer was
// complete.
func (s *service) askSlowly(sent chan<- struct{}) time.Time {
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.tb.Error(err)
		close(sent)
		return time.Time{}
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /slow HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
	r := bufio.NewReader(conn)
	r.ReadString('\n') // the status line: the handler runs
	close(sent)
	if _, err := io.Copy(io.Discard, r); err != nil {
		s.tb.Error(err)
	}
	return time.Now()
}

// awaitExit returns when the process of the pidfd has exited.
func awaitExit(fd int) time.Time {
	for {
		if n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1); n > 0 {
			return time.Now()
		}
	}
}

// TestKinds: each kind serves, and those that can be upgraded are, so that the
// benchmarks measure what they say.
func TestKinds(t *testing.T) {
	for _, kind := range []string{"gracerun", "raw", "plain"} {
		s := start(t, kind)
		if kind != "plain" {
			first := s.pid
			for range 3 {
				s.upgrade()
			}
			if s.pid == first {
				t.Errorf("%s: still pid %d after three upgrades", kind, first)
			}
		}
		if err := keepAsking(s.addr, 10); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
