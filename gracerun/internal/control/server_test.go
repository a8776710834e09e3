package control_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun/internal/control"
)

// TestStatus: lists are never null, and the client gets back what the service
// said.
func TestStatus(t *testing.T) {
	t.Parallel()
	f := newFake()
	s := open(t, f)
	res, body := s.ask("GET", "/status", nil)
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/json" || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s, %v", res.Status, res.Header)
	}
	for _, want := range []string{`"sockets":[]`, `"in_flight":[]`, `"upgrades":[]`, `"tasks":[]`, `"commands":[]`, `"last_upgrade":null`, `"uptime":60`, `"state":"ready"`} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is not in %s", want, body)
		}
	}
	if strings.Contains(body, "deadline") {
		t.Errorf("a deadline of no drain: %s", body)
	}
	f.set(func(s *control.Status) {
		s.Sockets = []control.Socket{{Network: "tcp", Address: ":0", Bound: "[::]:4242"}}
		s.Commands = []control.Command{{Name: "web", State: "running", PID: 17}}
		s.LastUpgrade = &control.Upgrade{At: s.StartedAt, From: 2, To: 3, Took: 0.5, Stage: "setup", Error: "no"}
	})
	got, err := s.Status(t.Context())
	check(t, err)
	if got.Commands[0].Output == nil || f.status.Commands[0].Output != nil {
		t.Errorf("the output is %v, and was %v", got.Commands[0].Output, f.status.Commands[0].Output)
	}
	want := f.status
	want.Uptime = got.Uptime
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(want.Complete())
	if !bytes.Equal(a, b) {
		t.Errorf("got  %s\nwant %s", a, b)
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	f := newFake()
	s := open(t, f)
	for state, want := range map[string]string{
		"starting": "503 starting\n", "ready": "200 ok\n", "upgrading": "200 ok\n", "draining": "503 draining\n", "done": "503 done\n",
	} {
		f.set(func(s *control.Status) { s.State = state })
		if res, body := s.ask("GET", "/healthz", nil); fmt.Sprintf("%d %s", res.StatusCode, body) != want {
			t.Errorf("%s: %s, %q", state, res.Status, body)
		}
	}
}

// TestProbes: a no has its reason, and the context is that of the request.
func TestProbes(t *testing.T) {
	t.Parallel()
	type key struct{}
	for _, c := range []struct {
		err  error
		code int
		want string
	}{{nil, 200, "ready\n"}, {errors.New("stopping: terminated"), 503, "not ready: stopping: terminated\n"}} {
		h := control.Probe("ready", func(ctx context.Context) error {
			if ctx.Value(key{}) == nil {
				t.Error("it is another context")
			}
			return c.err
		})
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(context.WithValue(t.Context(), key{}, true), "GET", "/", nil))
		if w.Code != c.code || w.Body.String() != c.want || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%v: %d, %q, %v", c.err, w.Code, w.Body, w.Header())
		}
	}
}

// TestRefusals: what is wrong is said, as JSON, and changes nothing.
func TestRefusals(t *testing.T) {
	t.Parallel()
	f := newFake()
	s := open(t, f)
	big := strings.Repeat(" ", 64<<10) + "{}"
	for _, c := range []struct {
		method, path, body string
		code               int
		allow, why         string
	}{
		{"GET", "/nowhere", "", 404, "", `"/nowhere"`},
		{"GET", "/status/", "", 404, "", "/status/"},
		{"GET", "/../status", "", 404, "", ""},
		{"POST", "/status", "", 405, "GET, HEAD", "takes GET"},
		{"OPTIONS", "/", "", 405, "GET, HEAD", ""},
		{"GET", "/upgrade", "", 405, "POST", "takes POST"},
		{"HEAD", "/stop", "", 405, "POST", "-"},
		{"DELETE", "/stop", "", 405, "POST", ""},
		{"POST", "/stop", "why not", 400, "", "not JSON"},
		{"POST", "/stop", big, 413, "", "too large"},
		{"GET", "/status", big, 413, "", "too large"},
		{"POST", "/reload", "", 501, "", "no reload"},
		{"GET", "/pause?name=x", "", 405, "POST", "takes POST"},
		{"POST", "/pause?name=x", "", 501, "", "cannot do that to its tasks"},
	} {
		var body io.Reader
		if c.body != "" {
			body = strings.NewReader(c.body)
		}
		res, text := s.ask(c.method, c.path, body)
		if res.StatusCode != c.code || res.Header.Get("Allow") != c.allow {
			t.Errorf("%s %s: %s, Allow %q", c.method, c.path, res.Status, res.Header.Get("Allow"))
		}
		if c.why == "-" {
			continue // the answer to HEAD has no body
		}
		if why := reason(t, res, text); !strings.Contains(why, c.why) {
			t.Errorf("%s %s: %q", c.method, c.path, why)
		}
	}
	select {
	case why := <-f.stopped:
		t.Errorf("stopped: %s", why)
	default:
	}
}

// TestGarbage: whoever does not speak HTTP, or too much of it, is told so and
// left.
func TestGarbage(t *testing.T) {
	t.Parallel()
	s := open(t, newFake())
	for _, c := range []struct{ name, sent, code string }{
		{"no HTTP", "\x16\x03\x01 what is this\r\n\r\n", "400"},
		{"a bad length", "POST /stop HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", "400"},
		{"a bad chunk", "POST /stop HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400"},
		{"a long header", "GET /status HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", "431"},
	} {
		conn := s.dial()
		go io.WriteString(conn, c.sent) // the server may not read all of it
		answer, err := io.ReadAll(conn)
		if !strings.HasPrefix(string(answer), "HTTP/1.1 "+c.code) {
			t.Errorf("%s: %q, %v", c.name, answer, err)
		}
	}
	_, err := s.Status(t.Context())
	check(t, err)
}

// TestSlowClients: one that takes his time to ask is left, and one that takes no
// answer does not keep others from theirs.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	if srv := control.NewServer(newFake().service(), quiet()); srv.ReadHeaderTimeout != 5*time.Second || srv.MaxHeaderBytes != 8<<10 {
		t.Errorf("the header has %s and %d bytes", srv.ReadHeaderTimeout, srv.MaxHeaderBytes)
	}
	s := open(t, newFake(), func(srv *http.Server) { srv.ReadHeaderTimeout = 200 * time.Millisecond })
	gone := make(chan error)
	for range 20 {
		conn := s.dial()
		go func() {
			for { // one byte after the other, so that something always comes
				if _, err := io.WriteString(conn, "G"); err != nil {
					gone <- err
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		}()
	}
	for range 20 {
		within(t, 10*time.Second, "end of a slow client", gone)
	}
	deaf := s.dial()
	_, err := io.WriteString(deaf, strings.Repeat("GET /status HTTP/1.1\r\nHost: x\r\n\r\n", 1000))
	check(t, err)
	_, err = s.Status(t.Context())
	check(t, err)
}

// TestSlowBody: the header is in time, what it announces never comes.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes the five seconds that a body has")
	}
	s := open(t, newFake())
	conn := s.dial()
	_, err := io.WriteString(conn, "POST /stop HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
	check(t, err)
	answer, err := io.ReadAll(conn)
	check(t, err)
	if !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
		t.Errorf("the answer is %q", answer)
	}
}

// TestManyStatus: a thousand at once, and each gets an answer.
func TestManyStatus(t *testing.T) {
	t.Parallel()
	s := open(t, newFake())
	var all sync.WaitGroup
	errs := make(chan error, 1000)
	for range 1000 {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			status, err := s.Status(ctx)
			if err == nil && status.PID != 4711 {
				err = fmt.Errorf("the answer is %+v", status)
			}
			errs <- err
		})
	}
	all.Wait()
	for range 1000 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// TestCommands: stop, reload and reopen reach the service, and how they went the
// client.
func TestCommands(t *testing.T) {
	t.Parallel()
	f := newFake()
	broken := errors.New("config: line 3: no such site")
	f.reload = func(context.Context) error { return broken }
	reopened := 0
	f.reopen = func() error { reopened++; return nil }
	s := open(t, f)
	check(t, s.Stop(t.Context()))
	if why := within(t, time.Second, "stop", f.stopped); !strings.Contains(why, "control socket by user ") || !strings.Contains(why, "pid ") {
		t.Errorf("stopped: %q", why)
	}
	var e *control.StatusError
	if err := s.Reload(t.Context()); !errors.As(err, &e) || e.Code != 500 || e.Message != broken.Error() {
		t.Errorf("reload: %v", err)
	}
	broken = nil
	check(t, s.Reload(t.Context()))
	check(t, s.Reopen(t.Context()))
	if reopened != 1 {
		t.Errorf("reopened %d times", reopened)
	}
	if err := control.NewClient(open(t, newFake()).path).Reload(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a service without reload: %v", err)
	}
}

// TestTasks: pause, resume and trigger reach the service with the name as it is,
// and the client can tell why not.
func TestTasks(t *testing.T) {
	t.Parallel()
	f := newFake()
	var told []string
	var answer error
	f.tell = func(verb, name string) error { told = append(told, verb+" "+name); return answer }
	s := open(t, f)
	const odd = "a b&name=c/%41+\"é\n"
	check(t, s.Pause(t.Context(), odd))
	check(t, s.Resume(t.Context(), odd))
	check(t, s.Trigger(t.Context(), odd))
	if want := []string{"pause " + odd, "resume " + odd, "trigger " + odd}; !slices.Equal(told, want) {
		t.Errorf("it was told %q", told)
	}
	for _, query := range []string{"", "?name=", "?nam=x"} {
		if res, body := s.ask("POST", "/trigger"+query, nil); res.StatusCode != 400 || !strings.Contains(reason(t, res, body), "which task?") {
			t.Errorf("%q: %s %s", query, res.Status, body)
		}
	}
	answer = fmt.Errorf("no task %q: there is mail (%w)", "mial", fs.ErrNotExist)
	var none *control.NoTaskError
	if err := s.Pause(t.Context(), "mial"); !errors.As(err, &none) || none.Name != "mial" || err.Error() != answer.Error() || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no task: %#v", err)
	}
	answer = fmt.Errorf("a Go task cannot be paused (%w)", errors.ErrUnsupported)
	if err := s.Pause(t.Context(), "feed"); !errors.Is(err, errors.ErrUnsupported) || err.Error() != answer.Error() {
		t.Errorf("unsupported: %#v", err)
	}
	answer = errors.New("no space left on device")
	var refused *control.StatusError
	if err := s.Resume(t.Context(), "mail"); !errors.As(err, &refused) || refused.Code != 500 || err.Error() != answer.Error() {
		t.Errorf("failed: %#v", err)
	}
}

// TestTasksOlder: a build that knows nothing of tasks is not one that lacks one.
func TestTasksOlder(t *testing.T) {
	t.Parallel()
	s := open(t, newFake(), func(srv *http.Server) {
		today := srv.Handler
		srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.URL.Path = "/nothing" + r.URL.Path
			today.ServeHTTP(w, r)
		})
	})
	if err := s.Pause(t.Context(), "mail"); errors.Is(err, fs.ErrNotExist) || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("the error is %#v", err)
	}
}

// TestNotIdentified: the whole handler is for a server that knows its clients.
func TestNotIdentified(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(control.Handler(newFake().service()))
	defer srv.Close()
	res, err := http.Post(srv.URL+"/stop", "", nil)
	check(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	check(t, err)
	if reason(t, res, string(body)); res.StatusCode != http.StatusForbidden {
		t.Errorf("the answer is %s", res.Status)
	}
}

// TestReadOnly: what is mounted elsewhere shows everything and does nothing.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.Handle("/", http.StripPrefix("/a/b", control.ReadOnly(newFake().service())))
	ask := func(method, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w
	}
	for _, path := range []string{"/", "/status", "/healthz", "/readyz", "/livez", "/metrics"} {
		if w := ask("GET", "/a/b"+path); w.Code != 200 || w.Body.Len() == 0 {
			t.Errorf("GET %s: %d", path, w.Code)
		}
		if w := ask("HEAD", "/a/b"+path); w.Code != 200 {
			t.Errorf("HEAD %s: %d", path, w.Code)
		}
		if w := ask("POST", "/a/b"+path); w.Code != 405 {
			t.Errorf("POST %s: %d", path, w.Code)
		}
	}
	for _, path := range []string{"/upgrade", "/stop", "/reload", "/reopen-logs", "/pause", "/resume", "/trigger"} {
		if w := ask("POST", "/a/b"+path); w.Code != 404 {
			t.Errorf("POST %s: %d", path, w.Code)
		}
	}
	if w := ask("GET", "/a/b?x=1"); w.Code != 301 || w.Header().Get("Location") != "./b/" {
		t.Errorf("without its slash: %d to %q", w.Code, w.Header().Get("Location"))
	}
}

// TestPagePolicy: the page is small, brings all it needs, and lets nothing else
// run.
func TestPagePolicy(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	control.ReadOnly(newFake().service()).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	page := w.Body.String()
	if len(page) > 25<<10 {
		t.Errorf("the page has %d bytes", len(page))
	}
	for _, foreign := range []string{"http://", "https://", "//cdn", "@import", " src=", "onclick", "innerHTML", "{{"} {
		if strings.Contains(strings.ReplaceAll(page, "http://www.w3.org/2000/svg", ""), foreign) {
			t.Errorf("the page has %q", foreign)
		}
	}
	policy := w.Header().Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'sha256-", "style-src 'sha256-", "connect-src 'self'", "base-uri 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("%s is not in %q", want, policy)
		}
	}
	if strings.Contains(policy, "unsafe") {
		t.Errorf("the policy is %q", policy)
	}
}

// TestKeepAlive: one connection serves several requests, a stream among them.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	f := newFake()
	f.upgrade = func(context.Context, func(control.Event)) error { return nil }
	s := open(t, f)
	conn := s.dial()
	r := bufio.NewReader(conn)
	for _, request := range []string{"GET /status", "POST /upgrade", "GET /healthz"} {
		_, err := io.WriteString(conn, request+" HTTP/1.1\r\nHost: x\r\n\r\n")
		check(t, err)
		res, err := http.ReadResponse(r, nil)
		check(t, err)
		_, err = io.Copy(io.Discard, res.Body)
		check(t, err)
		if res.StatusCode != 200 || res.Close {
			t.Errorf("%s: %s, close %t", request, res.Status, res.Close)
		}
	}
}
