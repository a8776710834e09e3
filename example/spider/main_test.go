//go:build linux

package main_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/test/harness"
)

// builder compiles the program once for all tests.
var builder harness.Builder

func TestMain(m *testing.M) {
	code := m.Run()
	if err := builder.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// A web is the sites to visit. Two visits at once are an error.
type web struct {
	*httptest.Server
	t       *testing.T
	release func() // lets /slow answer

	mu     sync.Mutex
	inHand int
	begun  []string // the pages, in the order of the visits
	seen   int      // how many of them await has been through
}

func newWeb(t *testing.T) *web {
	released := make(chan struct{})
	w := &web{t: t, release: sync.OnceFunc(func() { close(released) })}
	page := func(rw http.ResponseWriter, r *http.Request) { fmt.Fprint(rw, "a page\n") }
	mux := http.NewServeMux()
	for _, path := range []string{"/a", "/b", "/c", "/new", "/newer"} {
		mux.HandleFunc(path, page)
	}
	mux.HandleFunc("/slow", func(rw http.ResponseWriter, r *http.Request) {
		<-released
		page(rw, r)
	})
	mux.HandleFunc("/broken", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.visit(r.URL.Path, 1)
		defer w.visit("", -1)
		mux.ServeHTTP(rw, r)
	}))
	t.Cleanup(w.Close)
	return w
}

func (w *web) visit(page string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inHand += n
	if n < 0 {
		return
	}
	if w.begun = append(w.begun, page); w.inHand > 1 {
		w.t.Errorf("%s is visited together with another page", page)
	}
}

func (w *web) visits() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.begun)
}

// await waits until a visit of the page begins, after those it was called for
// before.
func (w *web) await(page string) {
	w.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		all := w.visits()
		if i := slices.Index(all[w.seen:], page); i >= 0 {
			w.seen += i + 1
			return
		}
	}
	w.t.Fatalf("no visit of %s; there were %q", page, w.visits()[w.seen:])
}

// A service is a spider, its program, and a directory with all its files.
type service struct {
	*harness.Service
	t    *testing.T
	ctx  context.Context
	args []string
	env  []string // by which the harness knows who belongs to the service
}

// start runs a spider that visits these pages, in the foreground.
func start(t *testing.T, w *web, pages ...string) *service {
	t.Helper()
	program, err := builder.Build("github.com/gracerun/grace/example/spider")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second) // end needs it, too
	t.Cleanup(cancel)
	s := &service{t: t, ctx: ctx, args: []string{"-rundir", "run", "-every", "20ms"}}
	s.Service, err = harness.Start(harness.Config{Binary: program, Args: s.args, Prepare: func(hs *harness.Service) error {
		s.Service = hs
		for i, page := range pages {
			pages[i] = w.URL + page
		}
		s.list(pages...)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.end)
	t.Cleanup(w.release)
	if s.env, err = harness.Environ(s.First); err != nil {
		t.Fatal(err)
	}
	return s
}

// end stops what still runs. That any process is left then is an error.
func (s *service) end() {
	if pid, err := s.PID(); err == nil && pid != 0 {
		s.Signal(pid, syscall.SIGTERM)
	}
	if err := s.Gone(s.ctx); err != nil {
		s.t.Error(err)
	}
	if s.t.Failed() {
		s.t.Log(s.Log())
	}
	if err := s.Close(); err != nil {
		s.t.Error(err)
	}
}

// owner waits until another than these processes is in charge.
func (s *service) owner(others ...int) int {
	s.t.Helper()
	pid, err := s.Owner(s.ctx, others...)
	if err != nil {
		s.t.Fatal(err)
	}
	return pid
}

// list writes the list as an editor does.
func (s *service) list(lines ...string) {
	s.t.Helper()
	name := filepath.Join(s.Root, "sites.txt")
	err := os.WriteFile(name+".new", []byte(strings.Join(lines, "\n")+"\n"), 0o600)
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// verb runs the program with a verb, and returns what it printed.
func (s *service) verb(exit int, verb string) string {
	s.t.Helper()
	cmd := exec.CommandContext(s.ctx, s.Path, append(slices.Clone(s.args), verb)...)
	cmd.Dir = s.Root
	cmd.Env = s.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	text, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != exit {
		s.t.Errorf("%s: exit status %d, not %d:\n%s", verb, got, exit, text)
	}
	return string(text)
}

// progress checks that the progress file begins with a line for each of these
// visits.
func (s *service) progress(site string, pages ...string) {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.Root, "progress.txt"))
	if err != nil {
		s.t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for i, page := range pages {
		if i >= len(lines) || !strings.HasSuffix(lines[i], "Z 200 7 "+site+page) {
			s.t.Errorf("line %d is not for %s:\n%s", i+1, page, text)
			return
		}
	}
}
