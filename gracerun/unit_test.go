package gracerun

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun/internal/daemon"
	"github.com/gracerun/grace/gracerun/internal/systemd"
)

func nothing(context.Context) error { return nil }

func TestUnitOfRun(t *testing.T) {
	t.Parallel()
	app := &App{Name: "hello", DrainTimeout: -1, ReadyTimeout: 5 * time.Second, Probation: -1, Hangup: HangupReload, Reload: nothing}
	app.Daemon = Daemon{User: "www-data", Env: []string{"A=b"}, Umask: 0o77, Output: "/var/log/hello/log", Dir: "/srv"}
	app.Serve("tcp", ":80", &http.Server{})
	app.Serve("unix", "/run/hello/http", &http.Server{})
	app.Serve("systemd", "admin", &http.Server{})
	app.Cleanup("one", nothing)
	app.Cleanup("two", nothing)
	p, err := app.unit(t.Context(), nil, false)
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(p.Program) || p.Program != os.Args[0] {
		t.Errorf("the program is %s", p.Program)
	}
	p.Program, p.Args, p.Version = "", nil, 0
	want := systemd.Params{
		Name: "hello", RunDir: "/run/hello", PIDFile: "/run/hello/hello.pid", Dir: "/srv",
		User: "www-data", Env: []string{"A=b"}, Umask: 0o77, Store: 2 + storeMargin,
		Ready: 5 * time.Second, Cleanups: 12 * time.Second, Rereads: true,
		Sockets: []systemd.Address{{Network: "tcp", Address: ":80"}, {Network: "unix", Address: "/run/hello/http"}},
	}
	if got, want := systemd.Unit(p), systemd.Unit(want); got != want || p.PIDFile != "/run/hello/hello.pid" || p.Incomplete || !slices.Equal(p.Named, []string{"admin"}) {
		t.Errorf("%+v makes\n%s\nwant\n%s", p, got, want)
	}
}

// TestUnitOfSetup: what Setup registers is not known, and leaves room in the limits.
func TestUnitOfSetup(t *testing.T) {
	t.Parallel()
	app := &App{Name: "hello", Setup: nothing, RunDir: "state", PIDFile: "/srv/pid", StopDelay: 8 * time.Second}
	app.Daemon.Dir = "/srv"
	p, err := app.unit(t.Context(), nil, false)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Incomplete || p.Cleanups != 7*time.Second || p.Store != storeMargin || p.StopDelay != 8*time.Second || p.RunDir != "/srv/state" || p.PIDFile != "/srv/pid" {
		t.Errorf("%+v", p)
	}
}

// TestUnitOfStart: what Daemon says is for the start verb to do.
func TestUnitOfStart(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		daemon               Daemon
		runDir, logDir, file string
	}{
		{Daemon{Output: "/var/log/hello/log", Dir: "/srv", Env: []string{"A=b"}, Umask: 7}, "/run/hello", "/var/log/hello", "/run/hello/hello.pid"},
		{Daemon{Output: "journal"}, "/run/hello", "", "/run/hello/hello.pid"},
		{Daemon{Output: "/var/log/hello/log", User: "www-data"}, "", "", "/run/hello/hello.pid"},
		{Daemon{Chroot: "/jail"}, "", "", "/jail/run/hello/hello.pid"},
	} {
		app := &App{Name: "hello", Daemon: test.daemon}
		p, err := app.unit(t.Context(), nil, true)
		if err != nil {
			t.Fatal(err)
		}
		if !p.Forking || p.RunDir != test.runDir || p.LogDir != test.logDir || p.PIDFile != test.file {
			t.Errorf("%+v: %+v", test.daemon, p)
		}
		if p.User != "" || p.Dir != "" || p.Env != nil || p.Umask != 0 || p.Store != 0 {
			t.Errorf("the unit does what start does: %+v", p)
		}
	}
}

func TestNoUnit(t *testing.T) {
	t.Parallel()
	jailed := &App{Name: "hello", Daemon: Daemon{Chroot: "/jail"}}
	if _, err := jailed.unit(t.Context(), nil, false); !errors.Is(err, daemon.ErrConfig) || !strings.Contains(err.Error(), "--type forking") {
		t.Error(err)
	}
	faulty := &App{Name: "hello", Generations: 1}
	if _, err := faulty.unit(t.Context(), nil, false); !errors.Is(err, daemon.ErrConfig) {
		t.Error(err)
	}
	if _, err := new(App).unit(t.Context(), []string{"a verb of another command line"}, false); err == nil {
		t.Error("it knows what comes before the verb")
	}
}

func TestWordsBefore(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ words, last, want string }{
		{"-addr :80 unit --socket", "unit --socket", "-addr :80"},
		{"unit unit", "unit", "unit"},
		{"unit", "unit", ""},
		{"svc unit -v", "unit", "no"},
		{"unit", "svc unit", "no"},
	} {
		got, err := wordsBefore(strings.Fields(test.words), strings.Fields(test.last))
		if (err != nil) != (test.want == "no") || err == nil && !slices.Equal(got, strings.Fields(test.want)) {
			t.Errorf("%q, %q: %q, %v", test.words, test.last, got, err)
		}
	}
}
