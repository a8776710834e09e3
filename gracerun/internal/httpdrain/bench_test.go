package httpdrain_test

import (
	"bufio"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun/internal/httpdrain"
)

// BenchmarkRequest asks two servers, with and without this package, in turns on one connection each. "ours/plain" is how
// much longer ours takes; ns/op is for one request to each.
func BenchmarkRequest(b *testing.B) {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })
	plain, ours := &http.Server{Handler: h}, &http.Server{Handler: h}
	pln, oln := listen(b), listen(b)
	go plain.Serve(pln)
	defer plain.Close()
	go httpdrain.New(ours, httpdrain.Options{Linger: time.Second}).Serve(oln)
	defer ours.Close()

	type side struct {
		ask    func()
		took   time.Duration
		allocs float64
	}
	sides := []*side{{ask: asker(b, pln.Addr().String())}, {ask: asker(b, oln.Addr().String())}}
	for _, s := range sides {
		s.allocs = testing.AllocsPerRun(1000, s.ask)
	}
	const turn = 200
	b.ResetTimer()
	for i := 0; i < b.N; i += turn {
		for _, s := range sides {
			start := time.Now()
			for range min(turn, b.N-i) {
				s.ask()
			}
			s.took += time.Since(start)
		}
	}
	b.ReportMetric(float64(sides[1].took)/float64(sides[0].took), "ours/plain")
	b.ReportMetric(sides[0].allocs, "plain-allocs/req")
	b.ReportMetric(sides[1].allocs, "ours-allocs/req")
	if sides[1].allocs > sides[0].allocs {
		b.Errorf("%v allocations for a request, net/http alone makes %v", sides[1].allocs, sides[0].allocs)
	}
}

// asker returns a function that asks once, without an allocation of its own.
func asker(b *testing.B, addr string) func() {
	nc, r, err := dialer(addr, nil)()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { nc.Close() })
	request := []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	length := 0
	once := func() {
		if _, err := nc.Write(request); err != nil {
			b.Fatal(err)
		}
		if length == 0 {
			length = answerLength(b, r)
			return
		}
		if _, err := r.Discard(length); err != nil {
			b.Fatal(err)
		}
	}
	once()
	return once
}

// answerLength reads the first answer; all others are as long, Date included.
func answerLength(b *testing.B, r *bufio.Reader) int {
	n := 0
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			b.Fatal(err)
		}
		n += len(line)
		if line == "\r\n" {
			r.Discard(len("ok"))
			return n + len("ok")
		}
	}
}
