package gracerun_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun"
)

// TestZeroApp: an App of which nothing was set, and that does nothing, lives.
func TestZeroApp(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("RUNTIME_DIRECTORY", dir)
	var app gracerun.App
	if st := app.Status(); st.State != gracerun.StateStarting || st.PID != os.Getpid() || st.Generation != 0 {
		t.Errorf("before Run: %+v", st)
	}
	if app.Sockets() != nil {
		t.Error("before Run it has sockets")
	}
	old := slog.Default()
	var log bytes.Buffer
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(old)
	ctx, end := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- app.Run(ctx) }()
	<-app.Ready()
	pid := filepath.Join(dir, filepath.Base(os.Args[0])+".pid")
	if text, err := os.ReadFile(pid); err != nil || string(text) != strconv.Itoa(os.Getpid())+"\n" {
		t.Errorf("pid file: %q, %v", text, err)
	}
	end()
	check(t, <-done)
	if st := app.Status(); st.State != gracerun.StateDone || st.Generation != 1 {
		t.Errorf("after Run: %+v", st)
	}
	if _, err := os.Stat(pid); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the pid file is still there: %v", err)
	}
	for _, want := range []string{"service=" + filepath.Base(os.Args[0]), "generation=1", "Run's context ended"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%q is not in the log:\n%s", want, log.String())
		}
	}
}

// TestOrderOfALife: what is called when, and that nothing is called after.
func TestOrderOfALife(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var order []string
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, what)
	}
	type key struct{}
	task := make(chan struct{})
	app := gracerun.App{
		Setup: func(ctx context.Context) error {
			note("Setup of " + ctx.Value(key{}).(string))
			if gracerun.Draining(ctx) == nil {
				t.Error("Setup's context does not carry Draining")
			}
			return nil
		},
		Check:   func(context.Context) error { note("Check"); return nil },
		OnState: func(s gracerun.State) { note(s.String()) },
	}
	for _, name := range []string{"first", "second"} {
		app.Cleanup(name, func(context.Context) error { note("clean up " + name); return nil })
	}
	app.Go("task", func(ctx context.Context) error {
		close(task)
		<-ctx.Done()
		note("task")
		if context.Cause(ctx) != gracerun.ErrDraining {
			t.Errorf("the task's context ended with %v", context.Cause(ctx))
		}
		return context.Cause(ctx)
	})
	app.Name, app.RunDir, app.Logger = "order", t.TempDir(), slog.New(slog.DiscardHandler)
	ctx, end := context.WithCancel(context.WithValue(t.Context(), key{}, "mine"))
	go func() { <-app.Ready(); <-task; end() }()
	check(t, app.Run(ctx))
	want := []string{"starting", "Setup of mine", "Check", "ready", "draining", "task", "clean up second", "clean up first", "done"}
	if !slices.Equal(order, want) {
		t.Errorf("order: %q\nwant   %q", order, want)
	}
}

// TestStartFails at each step, and leaves nothing behind.
func TestStartFails(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer taken.Close()
	failed := errors.New("no database")
	fail := func(context.Context) error { return failed }
	for name, c := range map[string]struct {
		app     *gracerun.App
		address string
		is      error
	}{
		"Setup":   {&gracerun.App{Setup: fail}, "127.0.0.1:0", failed},
		"address": {&gracerun.App{}, taken.Addr().String(), syscall.EADDRINUSE},
		"Check":   {&gracerun.App{Check: fail}, "127.0.0.1:0", failed},
	} {
		c.app.Name, c.app.RunDir = "fails", t.TempDir()
		path := filepath.Join(t.TempDir(), "s")
		c.app.Serve("unix", path, &http.Server{})
		c.app.Serve("tcp", c.address, &http.Server{})
		c.app.Go("task", func(context.Context) error { t.Error("a task began"); return nil })
		err := run(t, c.app)
		if !errors.Is(err, c.is) || !strings.HasPrefix(err.Error(), "gracerun: ") {
			t.Errorf("%s: Run returned %v", name, err)
		}
		if op := new(net.OpError); name == "address" && (!errors.As(err, &op) || op.Addr.String() != c.address) {
			t.Errorf("%s: Run returned %#v", name, err)
		}
		for _, file := range []string{path, filepath.Join(c.app.RunDir, "fails.pid")} {
			if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %s is there: %v", name, file, err)
			}
		}
		select {
		case <-c.app.Ready():
			t.Errorf("%s: it is ready", name)
		default:
		}
	}
}

// TestCheckMeetsTheServers: when it is called they serve.
func TestCheckMeetsTheServers(t *testing.T) {
	t.Parallel()
	var app gracerun.App
	c := client(t, nil)
	app.Serve("tcp", "127.0.0.1:0", greeter())
	app.Check = func(ctx context.Context) error {
		if _, body := get(t, c, "http://"+app.Status().Sockets[0].Bound+"/check"); body != "/check" {
			t.Errorf("it answers %q", body)
		}
		c.CloseIdleConnections()
		return nil
	}
	start(t, &app).stop()
}

// TestSockets: what Setup opens itself is the App's, too.
func TestSockets(t *testing.T) {
	t.Parallel()
	var app gracerun.App
	app.Serve("tcp", "127.0.0.1:0", &http.Server{})
	var own net.Listener
	app.Setup = func(ctx context.Context) (err error) {
		own, err = app.Sockets().Listen(ctx, "tcp4", "127.0.0.1:0")
		return err
	}
	s := start(t, &app)
	sockets := app.Status().Sockets
	want := []gracerun.Socket{
		{Network: "tcp4", Address: "127.0.0.1:0", Bound: own.Addr().String()},
		{Network: "tcp", Address: "127.0.0.1:0", Bound: s.bound(1)},
	}
	if !slices.Equal(sockets, want) {
		t.Errorf("sockets %+v, want %+v", sockets, want)
	}
	s.stop()
	if _, err := own.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the socket of Setup after Run: %v", err)
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	app := gracerun.App{Name: "status", Version: "v1.2.3"}
	before := time.Now()
	s := start(t, &app)
	st := app.Status()
	if st.Name != "status" || st.Version != "v1.2.3" || st.State != gracerun.StateReady || st.Since.Before(before) || st.LastUpgrade != (gracerun.UpgradeResult{}) {
		t.Errorf("status: %+v", st)
	}
	want := []gracerun.Generation{{Number: 1, PID: os.Getpid(), Version: "v1.2.3", State: gracerun.StateReady, Since: st.Since}}
	if !reflect.DeepEqual(st.Generations, want) {
		t.Errorf("generations: %+v", st.Generations)
	}
	s.stop()
}

// TestTwoApps in one process do not disturb each other.
func TestTwoApps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	apps := []*gracerun.App{{Name: "a", RunDir: dir}, {Name: "b", RunDir: dir}}
	var services []*service
	for _, app := range apps {
		app.Serve("tcp", "127.0.0.1:0", greeter())
		services = append(services, launch(t, app))
	}
	for _, s := range services {
		<-s.app.Ready()
	}
	services[0].stop()
	c := client(t, nil)
	if _, body := get(t, c, "http://"+services[1].bound(0)+"/b"); body != "/b" {
		t.Errorf("it answers %q", body)
	}
	c.CloseIdleConnections()
	services[1].stop()
}

func TestPIDFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "elsewhere.pid")
	s := start(t, &gracerun.App{Name: "svc", PIDFile: path})
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	s.stop()
	err := run(t, &gracerun.App{Name: "svc", PIDFile: filepath.Join(t.TempDir(), "no", "such", "directory.pid")})
	if perr := new(fs.PathError); !errors.As(err, &perr) {
		t.Errorf("Run returned %v", err)
	}
}

// TestRunDir is found, and made, where App.RunDir is not set.
func TestRunDir(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("RUNTIME_DIRECTORY", filepath.Join(dir, "a")+":"+filepath.Join(dir, "b"))
	ctx, end := context.WithCancel(t.Context())
	app := gracerun.App{Name: "svc", Logger: slog.New(slog.DiscardHandler)}
	app.OnState = func(s gracerun.State) {
		if s == gracerun.StateReady {
			if _, err := os.Stat(filepath.Join(dir, "a", "svc.pid")); err != nil {
				t.Error(err)
			}
			end()
		}
	}
	check(t, app.Run(ctx))
	file := filepath.Join(dir, "file")
	check(t, os.WriteFile(file, nil, 0o600))
	err := run(t, &gracerun.App{Name: "svc", RunDir: file})
	expectAll(t, err, "gracerun: run directory: ", file)
}

func TestExec(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		{[]string{"version"}, 0, "svc v1\n", ""},
		{[]string{"help"}, 0, "usage: svc", ""},
		{[]string{"dance"}, 2, "", `svc: no such verb: "dance"`},
		{[]string{"run", "fast"}, 2, "", "svc: run takes no arguments"},
		{[]string{"run"}, 1, "", "svc: no database\n"},
		{nil, 1, "", "svc: no database\n"},
	} {
		app := gracerun.App{Name: "svc", Version: "v1", RunDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)}
		app.Setup = func(context.Context) error { return errors.New("no database") }
		var stdout, stderr bytes.Buffer
		if code := app.Exec(t.Context(), c.args, &stdout, &stderr); code != c.code {
			t.Errorf("%q: exit code %d, want %d", c.args, code, c.code)
		}
		for _, out := range []struct{ got, want string }{{stdout.String(), c.stdout}, {stderr.String(), c.stderr}} {
			if !strings.HasPrefix(out.got, out.want) || out.want == "" && out.got != "" {
				t.Errorf("%q printed %q, want %q", c.args, out.got, out.want)
			}
		}
	}
	app := gracerun.App{Name: "svc", RunDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)}
	ctx, end := context.WithCancel(t.Context())
	go func() { <-app.Ready(); end() }()
	if code := app.Exec(ctx, []string{"run"}, io.Discard, t.Output()); code != 0 {
		t.Errorf("an orderly run: exit code %d", code)
	}
}
