package systemd_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun/internal/systemd"
)

// benchUnit is one of this package's, as a service would have it, for a process of the
// bench that is called name.
func benchUnit(part, name string, change func(*systemd.Params)) string {
	p := systemd.Params{
		Name: name, Program: "/usr/local/bin/program", RunDir: "/run/" + name,
		Env:   []string{"SYSTEMD_HELPER=" + part, "SYSTEMD_HELPER_NAME=" + name},
		Ready: time.Second, Drain: time.Second, Cleanups: time.Second,
	}
	change(&p)
	return systemd.Unit(p) + "\n[Service]\nStandardError=append:/run/bench/log\n"
}

// TestSystemd is for what only the real one can tell.
func TestSystemd(t *testing.T) {
	t.Parallel()
	nothing := func(*systemd.Params) {}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().String() // one that is free, for systemd to open
	ln.Close()
	socket, err := systemd.SocketUnit(systemd.Params{Name: "active", Sockets: []systemd.Address{{Network: "tcp", Address: port}}}, "http")
	if err != nil {
		t.Fatal(err)
	}
	short := strings.NewReplacer("TimeoutStartSec=12", "TimeoutStartSec=1")
	version, err := systemd.Version(t.Context())
	if err != nil {
		t.Skipf("skipped: %v", err)
	}
	if os.Getenv("GRACERUN_SYSTEMD_ROOT") != "" { // it is there for what this machine's has not
		version = 253
	}
	b := newBench(t, map[string]string{
		"up.service":       benchUnit("service", "up", nothing),
		"dog.service":      benchUnit("service", "dog", func(p *systemd.Params) { p.Watchdog = time.Second }),
		"store.service":    benchUnit("service", "store", func(p *systemd.Params) { p.Store = 4 }),
		"active.service":   benchUnit("service", "active", func(p *systemd.Params) { p.Activated = true }),
		"active.socket":    socket,
		"order.service":    benchUnit("service", "order", nothing),
		"late.service":     benchUnit("service", "late", nothing),
		"extended.service": short.Replace(benchUnit("slow", "extended", nothing)),
		"crash.service":    benchUnit("service", "crash", nothing),
		"fork.service": benchUnit("forking", "fork", func(p *systemd.Params) {
			p.Forking, p.PIDFile = true, "/run/fork/pid"
		}),
		"verb.service":   benchUnit("service", "verb", nothing),
		"signal.service": benchUnit("service", "signal", func(p *systemd.Params) { p.NotifyReload, p.Version = true, version }),
		"slow.service":   short.Replace(benchUnit("slow", "slow", nothing)),
	})
	t.Log(b.must(t, "--version")[:len("systemd 252")])
	t.Run("group", func(t *testing.T) { // its end is that of all of them
		t.Run("upgrade", func(t *testing.T) { t.Parallel(); upgrade(t, b) })
		t.Run("failed upgrade", func(t *testing.T) { t.Parallel(); failedUpgrade(t, b) })
		t.Run("reload", func(t *testing.T) { t.Parallel(); reload(t, b) })
		t.Run("stop", func(t *testing.T) { t.Parallel(); stop(t, b) })
		t.Run("crash", func(t *testing.T) { t.Parallel(); crash(t, b) })
		t.Run("forking", func(t *testing.T) { t.Parallel(); forkingUnit(t, b) })
		t.Run("notify-reload", func(t *testing.T) { t.Parallel(); notifyReload(t, b, version) })
		t.Run("watchdog", func(t *testing.T) { t.Parallel(); watchdog(t, b) })
		t.Run("fd store", func(t *testing.T) { t.Parallel(); store(t, b) })
		t.Run("activation", func(t *testing.T) { t.Parallel(); activation(t, b, port) })
		t.Run("extended start", func(t *testing.T) { t.Parallel(); extended(t, b) })
	})
}

// upgrade: NotifyAccess=main is enough for generations to take turns, and keeps the
// others out.
func upgrade(t *testing.T, b *bench) {
	b.must(t, "start", "up.service")
	first := b.pidOf(t, "up")
	b.want(t, "up.service", "MainPID StatusText NotifyAccess", first+" generation 1 serves main")
	before := first
	for i := 2; i <= 4; i++ {
		old, name := "up", fmt.Sprintf("up%d", i)
		if i > 2 {
			old = fmt.Sprintf("up%d", i-1)
		}
		b.ask(t, old, "spawn "+name)
		pid := b.pidOf(t, name)
		b.ask(t, name, "intrude before its time")
		if got := b.show(t, "up.service", "MainPID", "StatusText"); strings.Contains(got, "before its time") || !strings.HasPrefix(got, before) {
			t.Errorf("an intruder was believed: %s", got)
		}
		b.ask(t, old, "reloading upgrading")
		if got := b.show(t, "up.service", "SubState"); !strings.HasPrefix(got, "reload") {
			t.Errorf("SubState %q while it reloads", got)
		}
		b.ask(t, old, "handover "+pid)
		b.want(t, "up.service", "MainPID SubState StatusText", pid+" running generation 2 serves")
		b.ask(t, name, "own")
		b.ask(t, name, "status it is "+name)
		b.ask(t, old, "intrude too late")
		b.want(t, "up.service", "StatusText", "it is "+name)
		b.ask(t, old, "exit")
		before = pid
	}
	b.want(t, "up.service", "MainPID ActiveState NRestarts", before+" active 0")
	b.must(t, "stop", "up.service")
	b.want(t, "up.service", "ActiveState Result", "inactive success")
}

// reload is an upgrade that the unit's ExecReload asks for: the main process changes
// while systemd waits for the verb.
func reload(t *testing.T, b *bench) {
	b.must(t, "start", "verb.service")
	b.must(t, "reload", "verb.service")
	b.want(t, "verb.service", "MainPID SubState StatusText NRestarts", b.pidOf(t, "verb2")+" running generation 2 serves 0")
	b.must(t, "stop", "verb.service")
	b.want(t, "verb.service", "ActiveState Result", "inactive success")
}

// failedUpgrade: the verb's exit status is that of systemctl, the status says why, and
// the unit stays as it is.
func failedUpgrade(t *testing.T, b *bench) {
	b.must(t, "start", "order.service")
	pid := b.pidOf(t, "order")
	b.ask(t, "order", "reloading upgrading")
	b.ask(t, "order", "errno 5")
	b.ask(t, "order", "ready upgrade failed at check: no")
	b.want(t, "order.service", "MainPID SubState StatusText StatusErrno", pid+" running upgrade failed at check: no 5")
	if text, err := b.Systemctl(t.Context(), "reload", "order.service"); err == nil {
		t.Errorf("reload succeeded: %s", text)
	}
	b.want(t, "order.service", "MainPID ActiveState SubState", pid+" active running")
}

// stop: the main process alone is told, also one that was a successor, and whatever it
// waits for is not cut.
func stop(t *testing.T, b *bench) {
	b.must(t, "start", "late.service")
	b.ask(t, "late", "spawn late2")
	second := b.pidOf(t, "late2")
	b.ask(t, "late", "handover "+second)
	for _, name := range []string{"late", "late2"} {
		b.ask(t, name, "hold")
	}
	b.must(t, "stop", "--no-block", "late.service")
	b.ask(t, "late2", "await-term")
	b.ask(t, "late", "write drained")
	b.want(t, "late.service", "MainPID SubState", second+" stop-sigterm")
	b.ask(t, "late", "exit")
	b.ask(t, "late2", "own")
	b.ask(t, "late2", "stopping drained")
	b.ask(t, "late2", "exit")
	b.await(t, "late.service", "ActiveState Result", "inactive success")

	// If the main process does not wait, the older one is killed: so whoever systemd
	// takes for the main process exits last.
	b.must(t, "start", "late.service")
	b.ask(t, "late", "spawn cut")
	b.ask(t, "cut", "hold")
	b.ask(t, "late", "hold")
	b.must(t, "stop", "--no-block", "late.service")
	b.ask(t, "late", "await-term")
	b.ask(t, "late", "exit")
	b.await(t, "late.service", "ActiveState", "inactive")
	if _, err := ask(filepath.Join(b.dir, "cut"), "pid"); err == nil {
		t.Error("a generation outlived the main process")
	}
}

// crash: systemd notices the end of a successor at once, because it is its child, and
// starts the service again although the predecessor still drains.
func crash(t *testing.T, b *bench) {
	b.must(t, "start", "crash.service")
	b.ask(t, "crash", "spawn crash2")
	pid := b.pidOf(t, "crash2")
	if got := b.ask(t, "crash", "mine "+pid); got != "true" {
		t.Errorf("adopted is %s", got)
	}
	b.ask(t, "crash", "handover "+pid)
	b.must(t, "kill", "-s", "KILL", "--kill-who=main", "crash.service")
	b.await(t, "crash.service", "NRestarts SubState", "1 running")
	b.must(t, "stop", "crash.service")
}

// forkingUnit: the main process is whom the pid file names when the old one has gone.
func forkingUnit(t *testing.T, b *bench) {
	b.must(t, "start", "fork.service")
	first := b.pidOf(t, "fork")
	b.want(t, "fork.service", "MainPID", first)
	b.ask(t, "fork", "spawn fork2")
	second := b.pidOf(t, "fork2")
	b.ask(t, "fork2", "write-pid /run/fork/pid")
	b.want(t, "fork.service", "MainPID", first)
	b.ask(t, "fork", "exit")
	b.await(t, "fork.service", "MainPID ActiveState", second+" active")
	b.must(t, "stop", "fork.service")
	b.want(t, "fork.service", "ActiveState Result", "inactive success")
}

// notifyReload: systemctl waits for what the service says after SIGHUP.
func notifyReload(t *testing.T, b *bench, version int) {
	if version < 253 {
		t.Skipf("skipped: systemd %d has no Type=notify-reload", version)
	}
	b.must(t, "start", "signal.service")
	b.must(t, "reload", "signal.service")
	b.want(t, "signal.service", "Type SubState StatusText", "notify-reload running reloaded")
	b.must(t, "stop", "signal.service")
}

// watchdog: it is the new main process that is asked for a sign of life.
func watchdog(t *testing.T, b *bench) {
	b.must(t, "start", "dog.service")
	b.ask(t, "dog", "spawn dog2")
	second := b.pidOf(t, "dog2")
	b.ask(t, "dog", "handover "+second)
	b.ask(t, "dog2", "own")
	b.ask(t, "dog", "exit")
	for range 4 { // more than the time allowed
		seen := b.show(t, "dog.service", "WatchdogTimestampMonotonic")
		for limit := time.Now().Add(5 * time.Second); b.show(t, "dog.service", "WatchdogTimestampMonotonic") == seen; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatal("no sign of life is seen")
			}
		}
	}
	b.want(t, "dog.service", "MainPID NRestarts", second+" 0")
	b.ask(t, "dog2", "wedge")
	b.await(t, "dog.service", "NRestarts SubState", "1 running")
	b.must(t, "stop", "dog.service")
}

// store: a connection that nobody has accepted yet is served after a restart, and after
// a crash.
func store(t *testing.T, b *bench) {
	b.must(t, "start", "store.service")
	address := b.ask(t, "store", "listen 127.0.0.1:0")
	b.want(t, "store.service", "NFileDescriptorStore", "1")
	first := b.pidOf(t, "store")
	if got := b.ask(t, "store", "store-max"); got != "4" {
		t.Errorf("it knows of room for %s", got)
	}
	served := func(c net.Conn, before string) {
		t.Helper()
		defer c.Close()
		b.ask(t, "store", "serve")
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		line, err := bufio.NewReader(c).ReadString('\n')
		if pid := strings.TrimSpace(line); err != nil || pid == before || pid != b.pidOf(t, "store") {
			t.Errorf("answered by %q, %v", line, err)
		}
	}
	queued := dial(t, address)
	b.must(t, "restart", "store.service")
	served(queued, first)
	var list systemd.Sockets
	text := b.ask(t, "store", "names")
	if err := json.Unmarshal([]byte(text), &list); err != nil || len(list) != 1 || !list[0].Stored ||
		list[0].Network != "tcp" || list[0].Address != "127.0.0.1:0" {
		t.Errorf("passed was %s, %v", text, err)
	}

	second := b.pidOf(t, "store")
	b.ask(t, "store", "close") // so that it does not accept it
	queued = dial(t, address)
	b.must(t, "kill", "-s", "KILL", "store.service")
	b.await(t, "store.service", "NRestarts SubState", "1 running")
	served(queued, second)

	b.must(t, "stop", "store.service")
	b.want(t, "store.service", "NFileDescriptorStore", "0")
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// activation: the service is started by a connection, knows the socket by its name and
// its address, and passes on nothing that was meant for it alone.
func activation(t *testing.T, b *bench, address string) {
	b.must(t, "start", "active.socket")
	c := dial(t, address)
	defer c.Close()
	b.await(t, "active.service", "SubState", "running")
	b.ask(t, "active", "serve")
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	line, err := bufio.NewReader(c).ReadString('\n')
	if pid := strings.TrimSpace(line); err != nil || pid != b.pidOf(t, "active") {
		t.Errorf("answered by %q, %v", line, err)
	}
	var list systemd.Sockets
	text := b.ask(t, "active", "names")
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Named("http")) != 1 || len(list.Match("tcp", address)) != 1 || list[0].Stored {
		t.Errorf("passed was %s", text)
	}
	environment := b.ask(t, "active", "environment")
	for _, name := range systemd.Variables() {
		if strings.Contains(" "+environment, " "+name+"=") {
			t.Errorf("a command inherits %s: %s", name, environment)
		}
	}
	b.must(t, "stop", "active.service", "active.socket")
}

// extended: a start takes longer than the unit allows.
func extended(t *testing.T, b *bench) {
	b.must(t, "start", "--no-block", "slow.service")
	b.must(t, "start", "extended.service")
	b.want(t, "extended.service", "SubState StatusText", "running at last")
	b.await(t, "slow.service", "Result", "timeout")
	b.must(t, "stop", "slow.service", "extended.service")
}

// TestBooted asks about this machine.
func TestBooted(t *testing.T) {
	t.Parallel()
	_, err := os.Stat("/run/systemd/system")
	if got := systemd.Booted(); got != (err == nil) {
		t.Errorf("Booted is %v", got)
	}
}
