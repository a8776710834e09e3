//go:build linux

package verbs_test

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTasks(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	d := launch(t, dir, "tasks")
	do(t, dir, "tasks").want(0, "hello: 4 tasks, 1 paused; 1 command, 1 running\n  TASK ", "\n  report  cron 0 4 * * *  paused", "\n  web ", "4711")
	if got, want := do(t, dir, "tasks", "--names").want(0).out, "mail\nreport\nfeed\nlate\nweb\n"; got != want {
		t.Errorf("the names are %q, want %q", got, want)
	}
	v := do(t, dir, "tasks", "--json").want(0).object()
	tasks, commands := v["tasks"].([]any), v["commands"].([]any)
	if len(tasks) != 4 || len(commands) != 1 || commands[0].(map[string]any)["output"].([]any)[0] != "listening" || v["pid"] != float64(d.pid) {
		t.Errorf("%v", v)
	}
	do(t, dir, "status").want(0, "\n  command       web: running (pid 4711)\n                  listening\n", "\n  warning       report is paused; to let it go on: hello resume report\n")
	if v := do(t, dir, "status", "--json").want(0).object(); fmt.Sprint(v["warnings"]) != "[report is paused; to let it go on: hello resume report]" {
		t.Errorf("the warnings are %v", v["warnings"])
	}
}

func TestTasksOfNone(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	launch(t, dir)
	do(t, dir, "tasks").want(0, "hello: no tasks and no commands\n")
	do(t, dir, "tasks", "--names").want(0).lacks("no tasks")
	do(t, dir, "pause", "mail").want(2, "pause: the service has no tasks and no commands; see: hello help pause\n")
}

// TestPause and the like: several names, each of which is told, and one that fails keeps no
// other from it.
func TestPause(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	d := launch(t, dir, "tasks", "fails")
	do(t, dir, "pause", "mail", "web").want(0, "hello: paused mail: what it has in hand is finished\nhello: paused web\n")
	d.expect("pause mail")
	d.expect("pause web")
	do(t, dir, "resume", "mail").want(0, "hello: resumed mail\n")
	d.expect("resume mail")
	do(t, dir, "trigger", "report", "--timeout", "5s", "web").want(1, "hello: trigger report: the disk is full\n", "hello: triggered web\n")
	d.expect("trigger report")
	d.expect("trigger web")
	do(t, dir, "pause", "feed").want(3, "hello: pause feed: a task of Go cannot be told to pause")
	d.expect("pause feed")
	do(t, dir, "trigger", "late").want(2, `there is no task "late"`) // any more
	d.expect("trigger late")
	v := do(t, dir, "pause", "--json", "mail").want(0).object()
	if v["message"] != "paused mail: what it has in hand is finished" || v["verb"] != "pause" || v["error"] != "" || len(v["tasks"].([]any)) != 4 {
		t.Errorf("%v", v)
	}
}

// TestPauseUnknown: nothing is done if one of the names is wrong.
func TestPauseUnknown(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	d := launch(t, dir, "tasks")
	do(t, dir, "pause", "mail", "rport").want(2, `hello: pause: there is no task or command "rport" (did you mean report?); there are: mail, report, feed, late, web; see: hello help pause`)
	do(t, dir, "trigger", "").want(2, `command ""; there are`)
	if v := do(t, dir, "resume", "--json", "nobody").want(2).object(); v["state"] != "ready" || !strings.Contains(fmt.Sprint(v["error"]), "nobody") {
		t.Errorf("%v", v)
	}
	do(t, dir, "stop").want(0)
	if got := d.rest(); !slices.Equal(got, []string{"TERM"}) {
		t.Errorf("the service heard %q", got)
	}
}

// TestTasksUnasked: tasks are seen, and told, over the control socket alone, and why that
// cannot be is said.
func TestTasksUnasked(t *testing.T) {
	t.Parallel()
	for words, c := range map[string]struct {
		code int
		want string
	}{
		"nosocket": {1, "tasks are seen and told only over the control socket, and nobody listens on the control socket"},
		"mute":     {1, "does not answer on its control socket"},
		"older":    {3, "(version v1) is older than this program, and cannot be asked about tasks until an upgrade"},
	} {
		t.Run(words, func(t *testing.T) {
			t.Parallel()
			dir := temp(t)
			d := launch(t, dir, words)
			do(t, dir, "tasks").want(c.code, c.want)
			do(t, dir, "pause", "mail").want(c.code, c.want)
			d.send("end")
			if got := d.rest(); len(got) > 0 {
				t.Errorf("the service heard %q", got)
			}
		})
	}
}

func TestTasksNotRunning(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	for _, args := range []string{"tasks", "tasks --names", "pause mail", "resume mail", "trigger mail web"} {
		do(t, dir, strings.Fields(args)...).want(7, "hello: not running; to start it: hello start\n")
	}
	s := serviceAt(dir)
	s.Fault = io.ErrUnexpectedEOF
	for _, args := range []string{"tasks", "pause mail"} {
		doWith(t, s, strings.Fields(args)...).want(1, "unexpected EOF")
	}
}

// TestTasksStopping: what a service still has in hand can be seen to its end, but not told
// any more.
func TestTasksStopping(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	d := launch(t, dir, "tasks", "draining")
	do(t, dir, "tasks").want(0, "mail")
	do(t, dir, "resume", "mail").want(7, fmt.Sprintf("hello: pid %d is stopping; to start it again: hello start\n", d.pid))
}

// TestPauseStarting waits for the end of the start.
func TestPauseStarting(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	launch(t, dir, "tasks", "starting")
	began := time.Now()
	do(t, dir, "pause", "mail", "--timeout", "200ms").want(1, "is not ready: not done within 200ms")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}
