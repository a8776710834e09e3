//go:build linux

package verbs_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestUpgrade(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	d := launch(t, dir)
	for _, verb := range []string{"upgrade", "reload", "force-reload", "restart", "try-restart"} {
		r := do(t, dir, verb).want(0, fmt.Sprintf("hello: upgraded: generation 2 (pid %d, version v2) took over in ", d.pid))
		if want := fmt.Sprintf("hello: pid %[1]d started\nhello: generation 2 (pid %[1]d, version v2) serves\nhello: on probation: the old one still serves, too\n", d.pid); r.err != want {
			t.Errorf("%s: %q, want %q", verb, r.err, want)
		}
	}
	if v := do(t, dir, "upgrade", "--json").want(0).object(); v["state"] != "ready" || v["verb"] != "upgrade" {
		t.Errorf("%v", v)
	}
}

func TestUpgradeFails(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	d := launch(t, dir, "fails")
	do(t, dir, "upgrade").want(1, fmt.Sprintf("hello: upgrade failed at setup (pid %d): no database\nhello: asked twice\nhello: the service was not interrupted\n", d.pid))
	if v := do(t, dir, "reload", "--json").want(1).object(); v["state"] != "ready" || v["error"] == "" {
		t.Errorf("%v", v)
	}
}

func TestUpgradeNotRunning(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	for _, verb := range []string{"upgrade", "reload", "force-reload"} {
		do(t, dir, verb).want(7, "hello: not running; to start it: hello start\n")
	}
	do(t, dir, "try-restart").want(0, "hello: not running\n")
}

// TestUpgradeWhileStarting waits for the end of the start. Nobody gets a HUP, which would
// kill the launcher.
func TestUpgradeWhileStarting(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	d := launch(t, dir, "nopid", "nosocket")
	do(t, dir, "reload", "--timeout", "200ms").want(1, fmt.Sprintf("pid %d has the lock and is not ready: not done within 200ms", d.pid))
	doUntil(t, serviceAt(dir), "is starting: waiting for it", func() { d.send("let go") }, "reload").want(7, "not running")
	if got := d.rest(); len(got) > 0 {
		t.Errorf("the service heard %q", got)
	}
	launch(t, dir, "starting")
	do(t, dir, "upgrade", "--timeout", "200ms").want(1, "is not ready")
}

// TestUpgradeWhileStopping is no failure of the upgrade.
func TestUpgradeWhileStopping(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	d := launch(t, dir, "fails", "stops")
	want := fmt.Sprintf("pid %d is stopping; to start it again: hello start\n", d.pid)
	do(t, dir, "upgrade").want(7, "no database", want).lacks("not interrupted")
}

func TestUpgradeTimeout(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	launch(t, dir, "stubborn")
	do(t, dir, "upgrade", "--timeout", "200ms").want(1, "not done within 200ms: the upgrade is given up, unless")
}

func TestUpgradeDoesNotWait(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	d := launch(t, dir, "stubborn")
	began := time.Now()
	do(t, dir, "upgrade", "--wait=false").want(0, fmt.Sprintf("upgrade asked for (pid %d)", d.pid))
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestUpgradeHangs: one that does not answer is not waited for.
func TestUpgradeHangs(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	d := launch(t, dir)
	halt(t, d.cmd.Process)
	do(t, dir, "reload").want(1, fmt.Sprintf("pid %d does not answer", d.pid), "restart --hard")
}

// TestUpgradeBreaks: the process that was asked ends before it has answered. Who owns the
// service then, the lock and the pid file tell.
func TestUpgradeBreaks(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	launch(t, dir, "breaks")
	do(t, dir, "upgrade").want(7, "it has ended during the upgrade")
	launch(t, dir, "breaks")
	do(t, dir, "try-restart").want(7, "it has ended during the upgrade")
	dir = temp(t)
	d := launch(t, dir, "breaks", "hangup")
	do(t, dir, "upgrade").want(0, "upgraded: pid ", fmt.Sprintf("pid %d left before it could say so", d.pid))
	dir = temp(t)
	d = launch(t, dir, "breaks", "moves")
	r := do(t, dir, "upgrade").want(0, "upgraded: generation 2 (pid ", "version v2) took over")
	if strings.Contains(r.out, fmt.Sprint(d.pid)) {
		t.Errorf("who was asked first took over: %s", r.out)
	}
}

// TestReloadOfAUnit: systemd may stop the service while it runs ExecReload=, and the verb
// may see the end of the service before its own TERM. The end has a result of its own.
func TestReloadOfAUnit(t *testing.T) {
	t.Setenv("SYSTEMD_EXEC_PID", strconv.Itoa(os.Getpid()))
	dir := temp(t)
	do(t, dir, "reload").want(0, "not running")
	launch(t, dir, "breaks")
	do(t, dir, "reload").want(0, "it has ended during the upgrade")
	launch(t, dir, "fails", "stops")
	do(t, dir, "reload").want(0, "is stopping")
	dir = temp(t)
	launch(t, dir, "fails")
	do(t, dir, "reload").want(1, "upgrade failed at setup")
}

func TestReload(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	d := launch(t, dir, "reloads")
	s := serviceAt(dir)
	s.Reloads = true
	doWith(t, s, "reload").want(0, fmt.Sprintf("hello: reloaded (pid %d)\n", d.pid))
	doWith(t, s, "upgrade").want(0, "upgraded")
	doWith(t, s, "restart").want(0, "upgraded")
	d.expect("reload")
	doWith(t, s, "stop").want(0)

	launch(t, dir, "reloads", "fails")
	doWith(t, s, "force-reload").want(1, "hello: reload failed: line 7: no such colour\nhello: the service goes on with the configuration that it had\n")
	doWith(t, s, "stop").want(0)

	launch(t, dir) // an older build, which cannot
	doWith(t, s, "reload").want(3, "no reload")
}

// TestHangup: without the control socket the verbs do with HUP.
func TestHangup(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	d := launch(t, dir, "nosocket", "hangup")
	do(t, dir, "upgrade").want(0, "nobody listens on the control socket", "upgraded: pid ")
	d.expect("HUP")
	do(t, dir, "status").want(0, "running (pid ").lacks(fmt.Sprintf("pid %d)", d.pid))
	do(t, dir, "stop").want(0)
	if got := d.rest(); !slices.Equal(got, []string{"successor ready", "successor TERM"}) {
		t.Errorf("the services heard %q", got)
	}
}

func TestHangupWithoutEffect(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	d := launch(t, dir, "nosocket")
	do(t, dir, "upgrade", "--timeout=500ms").want(1, fmt.Sprintf("not done within 500ms: pid %d owns the service still", d.pid))
	do(t, dir, "upgrade", "--wait=false").want(0, fmt.Sprintf("pid %d was sent HUP", d.pid))
	s := serviceAt(dir)
	s.Reloads = true
	doWith(t, s, "reload").want(0, fmt.Sprintf("pid %d was sent HUP; its log has the result", d.pid))
	doWith(t, s, "upgrade").want(1, "no upgrade without the control socket", "restart --hard")
	doWith(t, s, "stop").want(0)
	if got := d.rest(); !slices.Equal(got, []string{"HUP", "HUP", "HUP", "TERM"}) {
		t.Errorf("the service heard %q", got)
	}
}

// TestHangupNotHandled: a process without a handler for HUP gets none.
func TestHangupNotHandled(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	d := launch(t, dir, "nosocket", "ignorehup")
	do(t, dir, "upgrade").want(1, fmt.Sprintf("pid %d does not handle HUP", d.pid))
}

func TestRestart(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	s, starts := starter(t, dir)
	doWith(t, s, "restart").want(0, "started (pid ")
	doWith(t, s, "restart").want(0, "upgraded")
	if *starts != 1 {
		t.Errorf("%d starts", *starts)
	}
	r := doWith(t, s, "restart", "--hard").want(0, "stopped (pid ", "started (pid ")
	if *starts != 2 {
		t.Errorf("%d starts: %s", *starts, r.out)
	}
	v := doWith(t, s, "restart", "--hard", "--json").want(0).object()
	if *starts != 3 || v["state"] != "ready" {
		t.Errorf("%d starts, %v", *starts, v)
	}
}

// TestRestartStopping: what is about to end is not upgraded, but started again.
func TestRestartStopping(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	d := launch(t, dir, "draining")
	do(t, dir, "reload").want(7, fmt.Sprintf("hello: pid %d is stopping; to start it again: hello start\n", d.pid))
	do(t, dir, "try-restart").want(0, "not running")
	s, _ := starter(t, dir)
	doUntil(t, s, fmt.Sprintf("pid %d is draining: waiting for it", d.pid), func() { d.send("end") }, "restart").want(0, "started (pid ")
}

// TestRestartHardFails: no start if the stop fails.
func TestRestartHardFails(t *testing.T) {
	t.Parallel()
	s, starts := starter(t, temp(t), "stubborn")
	doWith(t, s, "start").want(0)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if code := s.Exec(ctx, []string{"restart", "--hard"}, t.Output(), t.Output()); code != 1 || *starts != 1 {
		t.Errorf("exit status %d, %d starts", code, *starts)
	}
}
