//go:build linux

package main_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// A restart in the middle of a page: the old process finishes it. The new one,
// which is in charge meanwhile, begins the next when that is done.
func TestRestart(t *testing.T) {
	t.Parallel()
	w := newWeb(t)
	s := start(t, w, "/a", "/slow", "/c")
	w.await("/slow")
	s.verb(0, "restart")
	second := s.owner(s.First)
	s.verb(0, "restart") // while the first still has its page in hand
	third := s.owner(s.First, second)
	if err := s.Exited(s.ctx, second); err != nil { // it had none
		t.Fatal(err)
	}
	if got := w.visits(); !slices.Equal(got, []string{"/a", "/slow"}) {
		t.Errorf("before the page was done, these were begun: %q", got)
	}
	w.release()
	if err := s.Exited(s.ctx, s.First); err != nil {
		t.Fatal(err)
	}
	if ws, ok := s.Status(s.First); !ok || ws.ExitStatus() != 0 {
		t.Errorf("the first process ended with %v, %v", ws, ok)
	}
	w.await("/c")
	w.await("/slow")
	s.progress(w.URL, "/a", "/slow", "/c", "/a")
	if pid := s.owner(); pid != third {
		t.Errorf("pid %d is in charge, not %d", pid, third)
	}
	s.verb(0, "stop")
}

// A stop does the same, and the next start goes on where that was.
func TestStop(t *testing.T) {
	t.Parallel()
	w := newWeb(t)
	s := start(t, w, "/a", "/slow", "/c")
	w.await("/slow")
	if err := s.Signal(s.First, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Logged(s.ctx, 0, "drain"); err != nil {
		t.Fatal(err)
	}
	w.release()
	if err := s.Gone(s.ctx); err != nil {
		t.Fatal(err)
	}
	if got := w.visits(); !slices.Equal(got, []string{"/a", "/slow"}) {
		t.Errorf("these were begun: %q", got)
	}
	if err := s.Service.Restart(); err != nil {
		t.Fatal(err)
	}
	w.await("/c")
	s.verb(0, "stop")
	s.progress(w.URL, "/a", "/slow", "/c")
}

// A list with a fault changes nothing, and whoever reloads it hears why.
func TestReload(t *testing.T) {
	t.Parallel()
	w := newWeb(t)
	s := start(t, w, "/a", "/b")
	w.await("/b")
	s.list(w.URL+"/new", "no page")
	if said := s.verb(1, "reload"); !strings.Contains(said, `line 2: "no page" is no URL`) {
		t.Errorf("reload said:\n%s", said)
	}
	w.await("/b")
	w.await("/a")
	if slices.Contains(w.visits(), "/new") {
		t.Error("a page of the list with a fault was visited")
	}
	s.list(w.URL + "/new")
	s.verb(0, "reload")
	w.await("/new")
	s.list(w.URL + "/newer")
	if err := s.Signal(s.First, syscall.SIGHUP); err != nil { // it means the same
		t.Fatal(err)
	}
	w.await("/newer")
	if pid := s.owner(); pid != s.First {
		t.Errorf("pid %d is in charge, not %d", pid, s.First)
	}
}

// A list with a fault keeps the spider from starting, and not from stopping.
func TestBrokenList(t *testing.T) {
	t.Parallel()
	w := newWeb(t)
	s := start(t, w, "/a")
	w.await("/a")
	s.list("no page")
	if said := s.verb(1, "restart"); !strings.Contains(said, `line 1: "no page" is no URL`) {
		t.Errorf("restart said:\n%s", said)
	}
	w.await("/a")
	s.verb(0, "stop")
	for _, verb := range []string{"run", "start"} {
		if said := s.verb(1, verb); !strings.Contains(said, `line 1: "no page" is no URL`) {
			t.Errorf("%s said:\n%s", verb, said)
		}
	}
}

// A page that cannot be had is noted, and the next one visited.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	w := newWeb(t)
	s := start(t, w, "/missing", "/broken", "/a")
	w.await("/a")
	s.verb(0, "stop")
	text, err := os.ReadFile(filepath.Join(s.Root, "progress.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{" 404 19 " + w.URL + "/missing\n", " - 0 " + w.URL + "/broken\n", " 200 7 " + w.URL + "/a\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no line ends with %q:\n%s", want, text)
		}
	}
}

// As the documentation of the command says.
func TestDaemon(t *testing.T) {
	t.Parallel()
	w := newWeb(t)
	s := start(t, w, "/a", "/b")
	s.owner()
	s.verb(0, "stop")
	s.verb(3, "status")
	s.verb(0, "start")
	s.verb(0, "status")
	first := s.owner()
	s.list(w.URL + "/new")
	s.verb(0, "reload")
	w.await("/new")
	s.verb(0, "restart")
	s.owner(first)
	s.verb(0, "stop")
	if err := s.Gone(s.ctx); err != nil {
		t.Fatal(err)
	}
	if log, err := os.ReadFile(filepath.Join(s.Root, "spider.log")); err != nil || !strings.Contains(string(log), "generation=2") {
		t.Errorf("%v, the log is:\n%s", err, log)
	}
}
