package gracerun_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun"
	"github.com/gracerun/grace/gracerun/internal/control"
)

// TestControlSocketShowsTheStart: it answers before Setup is done, which may
// take long.
func TestControlSocketShowsTheStart(t *testing.T) {
	t.Parallel()
	inSetup, goOn := make(chan struct{}), make(chan struct{})
	app := gracerun.App{Name: "slow", RunDir: t.TempDir(), Setup: func(context.Context) error {
		close(inSetup)
		<-goOn
		return nil
	}}
	s := launch(t, &app)
	<-inSetup
	c := control.NewClient(filepath.Join(app.RunDir, "slow.sock"))
	st, err := c.Status(t.Context())
	check(t, err)
	if st.State != "starting" || st.PID != os.Getpid() || st.Generation != 1 {
		t.Errorf("in Setup: %+v", st)
	}
	close(goOn)
	<-app.Ready()
	st, err = c.Status(t.Context())
	check(t, err)
	if st.State != "ready" || st.ControlSocket != filepath.Join(app.RunDir, "slow.sock") || st.PIDFile != filepath.Join(app.RunDir, "slow.pid") {
		t.Errorf("ready: %+v", st)
	}
	check(t, c.Stop(t.Context()))
	check(t, s.wait())
	if _, err := os.Lstat(st.ControlSocket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// TestControlSocketOutOfTurn asks for what a process cannot do yet, and no more.
func TestControlSocketOutOfTurn(t *testing.T) {
	t.Parallel()
	inSetup, goOn, draining, finish := make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{})
	app := gracerun.App{Name: "early", RunDir: t.TempDir(), Setup: func(context.Context) error {
		close(inSetup)
		<-goOn
		return nil
	}, Reload: func(context.Context) error { return nil }, OnState: func(s gracerun.State) {
		if s == gracerun.StateDraining {
			close(draining)
		}
	}}
	app.Every("mail", time.Hour, func(context.Context) error { return nil })
	s := launch(t, &app)
	c := control.NewClient(filepath.Join(app.RunDir, "early.sock"))
	refused := func(words string) {
		t.Helper()
		_, err := c.Upgrade(t.Context(), func(control.Event) {})
		for what, err := range map[string]error{"upgrade": err, "reload": c.Reload(t.Context()), "pause": c.Pause(t.Context(), "mail")} {
			if err == nil || !strings.HasSuffix(err.Error(), words) || strings.Contains(err.Error(), "gracerun") {
				t.Errorf("%s: %v, want %q", what, err, words)
			}
		}
	}
	<-inSetup
	refused("the process is not ready yet")
	close(goOn)
	<-app.Ready()
	check(t, app.Task("in hand", func(context.Context) error { <-finish; return nil }))
	check(t, c.Stop(t.Context()))
	<-draining
	refused("the process is draining")
	close(finish)
	check(t, s.wait())
}

// TestControlSocketIsNotNeeded: a service does without one, and says so.
func TestControlSocketIsNotNeeded(t *testing.T) {
	t.Parallel()
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 100))
	own := t.TempDir()
	for name, app := range map[string]*gracerun.App{
		"path too long":              {RunDir: long},
		"the service's own is there": {RunDir: own},
	} {
		var log bytes.Buffer
		app.Name, app.Logger = "own", slog.New(slog.NewTextHandler(&log, nil))
		if app.RunDir == own {
			app.Setup = func(context.Context) error {
				app.Serve("unix", filepath.Join(own, "own.sock"), greeter())
				return nil
			}
		}
		s := start(t, app)
		if st := app.Status(); st.ControlSocket != "" {
			t.Errorf("%s: the control socket is %s", name, st.ControlSocket)
		}
		s.stop()
		if !strings.Contains(log.String(), "no control socket") {
			t.Errorf("%s: the log does not say so:\n%s", name, log.String())
		}
	}
}

func TestHandler(t *testing.T) {
	t.Parallel()
	var app gracerun.App
	app.Serve("tcp", "127.0.0.1:0", greeter())
	srv := httptest.NewServer(http.StripPrefix("/debug/service", app.Handler()))
	defer srv.Close()
	ask := func(method, path string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+"/debug/service/"+path, nil)
		check(t, err)
		res, err := srv.Client().Do(req)
		check(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		check(t, err)
		return res.StatusCode, string(body)
	}
	if code, body := ask("GET", "healthz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "starting") {
		t.Errorf("healthz before Run: %d %s", code, body)
	}
	s := start(t, &app)
	for path, want := range map[string]string{
		"status": `"state":"ready"`, "healthz": "ok", "readyz": "ready", "livez": "alive", "metrics": "gracerun_", "": "<html",
	} {
		if code, body := ask("GET", path); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("GET %s: %d, and no %s in %s", path, code, want, body)
		}
	}
	for _, path := range []string{"stop", "upgrade", "reload", "reopen-logs", "pause", "resume", "trigger"} {
		if code, _ := ask("POST", path); code != http.StatusNotFound {
			t.Errorf("POST %s: %d", path, code)
		}
	}
	s.stop()
}

// TestStatusJSON: what is read back is what was written.
func TestStatusJSON(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	failed := gracerun.UpgradeResult{From: 6, To: 7, PID: 41, Took: 1500 * time.Millisecond, At: at, Stage: "setup", Error: "no database"}
	want := gracerun.Status{
		Name: "svc", Version: "v2", PID: 42, Generation: 7, State: gracerun.StateUpgrading, Since: at, Deadline: at,
		Sockets:     []gracerun.Socket{{Network: "tcp", Address: ":0", Bound: "[::]:4711"}},
		Generations: []gracerun.Generation{{Number: 6, PID: 40, Version: "v1", State: gracerun.StateDraining, Since: at, InHand: []gracerun.InHand{{Name: "mail", Count: 2, Since: at}}, Deadline: at}},
		InHand:      []gracerun.InHand{{Name: "tcp :0", Count: 3}},
		Tasks: []gracerun.TaskStatus{{
			Name: "mail", Kind: "every", Schedule: "1m0s", Timeout: time.Second, State: "running", Paused: true, Running: 1, Since: at, Due: at,
			Runs: 7, Failed: 2, Requeued: 1, LastRun: at, LastTook: 1500 * time.Millisecond, LastError: "no route",
		}},
		Commands: []gracerun.CommandStatus{{
			Name: "web", State: "waiting", PID: 43, Since: at, Due: at, Restarts: 3, LastExit: "exit status 1", Error: "no such file",
			CPU: 2500 * time.Millisecond, Memory: 1 << 20, Output: []string{"listening"},
		}},
		LastUpgrade: failed,
		Upgrades:    []gracerun.UpgradeResult{{From: 5, To: 6, PID: 40, Took: time.Second, At: at}, failed},
		PIDFile:     "/run/svc/svc.pid", ControlSocket: "/run/svc/svc.sock",
	}
	text, err := json.Marshal(want)
	check(t, err)
	var got gracerun.Status
	check(t, json.Unmarshal(text, &got))
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v\njson %s", got, want, text)
	}
	text, err = json.Marshal(gracerun.Status{})
	check(t, err)
	if strings.Contains(string(text), "null") && !strings.Contains(string(text), `"last_upgrade":null`) {
		t.Errorf("empty lists are not []: %s", text)
	}
}

// TestVerb: the service's own verbs are its program's, not the running service's.
func TestVerb(t *testing.T) {
	t.Parallel()
	app := gracerun.App{Name: "mine", RunDir: t.TempDir()}
	wrong := errors.New("no such table")
	var args []string
	app.Verb("migrate", "change the tables", func(_ context.Context, a []string) error { args = a; return wrong })
	var out, errout bytes.Buffer
	if code := app.Exec(t.Context(), []string{"migrate", "-n", "users"}, &out, &errout); code != 1 {
		t.Errorf("exit status %d", code)
	}
	if strings.Join(args, " ") != "-n users" || !strings.Contains(errout.String(), "mine: no such table") {
		t.Errorf("arguments %q, output %q", args, errout.String())
	}
	if code := app.Exec(t.Context(), []string{"help"}, &out, &errout); code != 0 || !strings.Contains(out.String(), "change the tables") {
		t.Errorf("help, exit status %d: %s", code, out.String())
	}
	app.Verb("migrate", "again", func(context.Context, []string) error { return nil })
	app.Verb("stop", "not that one", func(context.Context, []string) error { return nil })
	app.Verb("nothing", "", nil)
	expectAll(t, app.Run(t.Context()), `Verb("migrate"): it is registered twice`, `Verb("stop"): the name is taken`, `Verb("nothing"): the function is nil`)
}
