package load

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"
)

// request is an HTTP request, of whichever version, and the rule for its answer.
type request struct {
	method, path string
	body         []byte // what an echo must bring back
	named        bool   // the answer must say generation and pid
	lines        bool   // the answer must be made of whole lines
	last         bool   // the connection ends after it
}

func who() *request { return &request{method: "GET", path: "/", named: true} }

// echo returns a request with a body like no other, so that an answer meant
// for another request is noticed. size 0 means 64 bytes.
func echo(size int) *request {
	if size <= 0 {
		size = 64
	}
	tag := fmt.Appendf(nil, "%016x", rand.Uint64())
	return &request{method: "POST", path: "/echo", body: bytes.Repeat(tag, size/len(tag)+1)[:size]}
}

func sleep(d time.Duration) *request {
	return &request{method: "GET", path: "/sleep?d=" + d.String()}
}

func stream(d time.Duration) *request {
	return &request{method: "GET", path: "/stream?d=" + d.String(), lines: true}
}

// next returns the request that a connection carries after n others: every
// get-th asks who is there, the first one included. get 0 means 10; get < 0,
// none.
func next(n, get, size int) *request {
	if get == 0 {
		get = 10
	}
	if get > 0 && n%get == 0 {
		return who()
	}
	return echo(size)
}

// wire returns the request as HTTP/1.1, RFC 9112.
func (r *request) wire(host string) []byte {
	b := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.method, r.path, host)
	if r.body != nil {
		b = fmt.Appendf(b, "Content-Length: %d\r\n", len(r.body))
	}
	if r.last {
		b = append(b, "Connection: close\r\n"...)
	}
	return append(append(b, "\r\n"...), r.body...)
}

// judge checks a whole answer and notes in o who gave it.
func (r *request) judge(o *Outcome, resp *http.Response, got []byte) *Failure {
	o.Generation, o.PID = identity(got)
	switch {
	case resp.StatusCode != http.StatusOK:
		return wrong("status %q", resp.Status)
	case resp.ProtoMajor == 1 && resp.ContentLength < 0 && len(resp.TransferEncoding) == 0:
		// It ends where the connection ends (RFC 9112 6.3), so a cut one would look the same.
		return wrong("neither Content-Length nor chunked: nothing shows that the answer is whole")
	case r.body != nil && len(got) < len(r.body) && bytes.HasPrefix(r.body, got):
		return &Failure{Stage: StageShort, Err: fmt.Errorf("%d bytes of %d", len(got), len(r.body))}
	case r.body != nil && !bytes.Equal(got, r.body):
		return wrong("sent %.80q, got %.80q", r.body, got)
	case r.named && o.PID == 0:
		return wrong("no generation and pid in %.80q", got)
	case r.lines && !bytes.HasSuffix(got, []byte("\n")):
		return wrong("stream does not end with a whole line: %.80q", got)
	}
	return nil
}

// identity reads "generation G pid P" at the start of an answer.
func identity(b []byte) (generation, pid int) {
	if !bytes.HasPrefix(b, []byte("generation ")) {
		return 0, 0
	}
	if n, _ := fmt.Sscanf(string(b[:min(len(b), 80)]), "generation %d pid %d", &generation, &pid); n < 2 {
		return 0, 0
	}
	return generation, pid
}
