package gracerun_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun"
	"github.com/gracerun/grace/pidfile"
)

func nothing(context.Context) error { return nil }

func take(context.Context) (int, error) { return 0, errors.New("nothing there") }

func do(context.Context, int) error { return nil }

// embedded is a Server that is nil inside.
type embedded struct{ *http.Server }

// TestNilServers are found before any client does.
func TestNilServers(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]gracerun.Server{
		"nil":                     nil,
		"nil *http.Server":        (*http.Server)(nil),
		"TLS of nil":              gracerun.TLS(nil, "cert", "key"),
		"nil *ConnServer":         (*gracerun.ConnServer)(nil),
		"nil *Funcs":              (*gracerun.Funcs)(nil),
		"nil *embedded":           (*embedded)(nil),
		"Funcs without ServeFunc": gracerun.Funcs{ShutdownFunc: nothing},
		"&Funcs without it":       &gracerun.Funcs{},
		"ConnServer without Handle": gracerun.ConnServer{
			MaxConns: 1,
		},
		"&ConnServer without it": &gracerun.ConnServer{},
	} {
		var app gracerun.App
		app.Serve("tcp", "127.0.0.1:0", s)
		if err := run(t, &app); err == nil || !strings.Contains(err.Error(), `gracerun: Serve("tcp", "127.0.0.1:0"): `) {
			t.Errorf("%s: Run returned %v", name, err)
		}
	}
	for name, s := range map[string]gracerun.PacketServer{
		"nil":                           nil,
		"nil *PacketFuncs":              (*gracerun.PacketFuncs)(nil),
		"PacketFuncs without ServeFunc": gracerun.PacketFuncs{},
		"&PacketFuncs without it":       &gracerun.PacketFuncs{},
	} {
		var app gracerun.App
		app.ServePacket("udp", "127.0.0.1:0", s)
		if err := run(t, &app); err == nil || !strings.Contains(err.Error(), `gracerun: ServePacket("udp", "127.0.0.1:0"): `) {
			t.Errorf("packets, %s: Run returned %v", name, err)
		}
	}
}

// TestAllFaultsAreNamed in one error, in the order of registration.
func TestAllFaultsAreNamed(t *testing.T) {
	t.Parallel()
	app := gracerun.App{Generations: 1, Setup: func(context.Context) error { t.Error("Setup was called"); return nil }}
	srv := &http.Server{}
	app.Serve("tcp", "127.0.0.1:0", nil)
	app.Serve("udp", "127.0.0.1:0", srv)
	app.ServePacket("tcp", "127.0.0.1:0", gracerun.PacketFuncs{ServeFunc: func(net.PacketConn) error { return nil }})
	app.Serve("tcp", ":80", srv)
	app.Serve("tcp", ":80", &http.Server{})
	app.Go("", nothing)
	app.Go("mail", nothing)
	app.Loop("mail", nothing)
	app.Go("g", nil)
	app.Loop("l", nil)
	app.Every("e", time.Second, nil)
	app.Every("zero", 0, nothing)
	app.Every("negative", -1, nothing)
	gracerun.Work(&app, "t", 1, nil, do)
	gracerun.Work(&app, "d", 1, take, nil)
	app.Cleanup("c", nil)
	err := run(t, &app)
	want := []string{
		`Serve("tcp", "127.0.0.1:0"): `, `Serve("udp", "127.0.0.1:0"): no such network`, `ServePacket("tcp", "127.0.0.1:0"): no such network`,
		`Serve("tcp", ":80"): it is registered twice`, `Go(""): `, `Loop("mail"): it is registered twice`, `Go("g"): `, `Loop("l"): `,
		`Every("e"): `, `Every("zero"): `, `Every("negative"): `, `Work("t"): `, `Work("d"): `, `Cleanup("c"): `, "Generations is 1",
	}
	expectAll(t, err, want...)
	var at []int
	for _, text := range want {
		at = append(at, strings.Index(fmt.Sprint(err), text))
	}
	if !slices.IsSorted(at) {
		t.Errorf("not in the order of registration: %v", err)
	}
	if n := strings.Count(fmt.Sprint(err), "\n") + 1; n != len(want) {
		t.Errorf("%d faults, want %d: %v", n, len(want), err)
	}
	select {
	case <-app.Ready():
		t.Error("it is ready")
	default:
	}
}

// TestFaultsOfSetup: what Setup registers is held to the same rules.
func TestFaultsOfSetup(t *testing.T) {
	t.Parallel()
	var app gracerun.App
	app.Go("mail", nothing)
	app.Setup = func(context.Context) error {
		app.Go("mail", nothing)
		app.Serve("tcp", "127.0.0.1:0", nil)
		return nil
	}
	expectAll(t, run(t, &app), `Go("mail"): it is registered twice`, `Serve("tcp", "127.0.0.1:0"): the server is nil`)
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a/b", "..", ".", "a\x00b", "/"} {
		app := gracerun.App{Name: name, RunDir: t.TempDir()}
		if err := run(t, &app); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", name)) {
			t.Errorf("%q: Run returned %v", name, err)
		}
	}
	var app gracerun.App
	if got, want := app.Status().Name, filepath.Base(os.Args[0]); got != want {
		t.Errorf("the zero value is called %q, want %q", got, want)
	}
}

// TestPortZeroRepeats: each has a port of its own.
func TestPortZeroRepeats(t *testing.T) {
	t.Parallel()
	var app gracerun.App
	srv := &http.Server{}
	for range 3 {
		app.Serve("tcp", "127.0.0.1:0", srv)
	}
	s := start(t, &app)
	if a, b, c := s.bound(0), s.bound(1), s.bound(2); a == b || b == c || a == c {
		t.Errorf("bound to %s, %s, %s", a, b, c)
	}
	s.stop()
}

// expectPanic calls f, which must panic with text.
func expectPanic(t *testing.T, text string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if got := fmt.Sprint(recover()); !strings.Contains(got, text) {
			t.Errorf("panic: %s, want %q", got, text)
		}
	}()
	f()
}

// TestRegistrationAfterRun: a panic names the call, and says what to do.
func TestRegistrationAfterRun(t *testing.T) {
	t.Parallel()
	var app gracerun.App
	tooLate := func() {
		t.Helper()
		for name, f := range map[string]func(){
			`Serve("tcp", ":1")`:       func() { app.Serve("tcp", ":1", &http.Server{}) },
			`ServePacket("udp", ":1")`: func() { app.ServePacket("udp", ":1", gracerun.PacketFuncs{}) },
			`Go("g")`:                  func() { app.Go("g", nothing) },
			`Loop("l")`:                func() { app.Loop("l", nothing) },
			`Every("e")`:               func() { app.Every("e", 1, nothing) },
			`Work("w")`:                func() { gracerun.Work(&app, "w", 1, take, do) },
			`Cleanup("c")`:             func() { app.Cleanup("c", nothing) },
		} {
			expectPanic(t, "gracerun: "+name+" after Run has begun: register work before Run or inside Setup", f)
		}
	}
	app.Check = func(context.Context) error { tooLate(); return nil }
	app.Setup = func(context.Context) error { app.Go("in Setup", nothing); return nil }
	s := start(t, &app)
	tooLate()
	s.stop()
	tooLate()
}

func TestRunTwice(t *testing.T) {
	t.Parallel()
	var app gracerun.App
	s := start(t, &app)
	expectAll(t, app.Run(t.Context()), "Run was called twice")
	s.stop() // the first one is not disturbed
	expectAll(t, app.Run(t.Context()), "Run was called twice")
}

// TestSecondStart of a service that runs already. Not parallel: a child that
// another test starts has a copy of the lock until its exec, see
// [pidfile.File.Close], and the last start would find it held.
func TestSecondStart(t *testing.T) {
	dir := t.TempDir()
	first := start(t, &gracerun.App{Name: "svc", RunDir: dir})
	err := run(t, &gracerun.App{Name: "svc", RunDir: dir, Setup: func(context.Context) error { t.Error("Setup was called"); return nil }})
	held := new(pidfile.LockedError)
	if !errors.As(err, &held) || held.PID != os.Getpid() || held.Path != filepath.Join(dir, "svc.pid") {
		t.Errorf("Run returned %v", err)
	}
	first.stop()
	start(t, &gracerun.App{Name: "svc", RunDir: dir}).stop()
}
