//go:build linux

package deployed

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A supervisor starts the service, and watches the pid of what it has started.
type supervisor struct {
	programs []string // that have to be installed

	begin func(d *deployment)
	// pid is the one that it believes in, 0 while the service is down.
	pid func(d *deployment) int
	// What a person types.
	hup, stop, start func(d *deployment)
	// final says that it does not start again what has ended in order.
	final bool
	// log is all that the service has printed.
	log func(d *deployment) string
}

func supervisors() map[string]supervisor {
	return map[string]supervisor{"supervisord": supervisord(), "runit": runit(), "s6": s6(), "daemontools": daemontools()}
}

// supervisord takes words of hello.conf that are different.
func supervisord(oldnew ...string) supervisor {
	ctl := func(words ...string) func(*deployment) string {
		return func(d *deployment) string {
			return d.must("supervisorctl", append([]string{"-c", d.path("supervisord.conf")}, words...)...)
		}
	}
	do := func(words ...string) func(*deployment) { return func(d *deployment) { ctl(words...)(d) } }
	return supervisor{
		programs: []string{"supervisord", "supervisorctl"},
		begin: func(d *deployment) {
			d.write("supervisord.conf", strings.ReplaceAll(`[unix_http_server]
file=DIR/supervisor.sock
[supervisord]
logfile=DIR/supervisord.log
pidfile=DIR/supervisord.pid
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://DIR/supervisor.sock
`, "DIR", d.dir)+d.block(d.t(), "hello.conf", d.here(append(oldnew, "/var/log/hello.log", d.path("hello.log"))...)...), 0o644)
			d.background("supervisord", "-n", "-c", d.path("supervisord.conf"))
		},
		pid: func(d *deployment) int {
			text, code := d.run("supervisorctl", "-c", d.path("supervisord.conf"), "pid", "hello")
			pid, err := strconv.Atoi(text)
			if err != nil && code == 0 {
				d.Fatalf("supervisorctl pid says %q", text)
			}
			return pid
		},
		final: true,
		hup:   do("signal", "HUP", "hello"), stop: do("stop", "hello"), start: do("start", "hello"),
		log: readLog("hello.log"),
	}
}

func readLog(name string) func(*deployment) string {
	return func(d *deployment) string {
		text, err := os.ReadFile(d.path(name))
		d.check(err)
		return string(text)
	}
}

// service writes the directory that runit and its relatives take, without the log.
func (d *deployment) service() string {
	d.write("service/hello/run", d.block(d.t(), "run", d.here()...), 0o755)
	return d.path("service/hello")
}

func runit() supervisor {
	sv := func(words ...string) func(*deployment) {
		return func(d *deployment) { d.must("sv", append(words, d.path("service/hello"))...) }
	}
	return supervisor{
		programs: []string{"runsvdir", "runsv", "sv", "svlogd"},
		begin: func(d *deployment) {
			d.service()
			d.write("service/hello/check", d.block(d.t(), "check", d.here()[:2]...), 0o755)
			d.write("service/hello/log/run", d.block(d.t(), "log", "/var/log/hello", d.path("log")), 0o755)
			d.check(os.Mkdir(d.path("log"), 0o755))
			d.background("runsvdir", "-P", d.path("service"))
		},
		pid: pidFile("service/hello/supervise/pid"),
		hup: sv("reload"), stop: sv("-w", "40", "stop"), start: sv("-w", "40", "start"),
		log: readLog("log/current"),
	}
}

// pidFile is the pid in a file that is empty while the service is down.
func pidFile(name string) func(*deployment) int {
	return func(d *deployment) int {
		text, _ := os.ReadFile(d.path(name))
		pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		return pid
	}
}

func s6() supervisor {
	svc := func(words ...string) func(*deployment) {
		return func(d *deployment) { d.must("s6-svc", append(words, d.path("service/hello"))...) }
	}
	return supervisor{
		programs: []string{"s6-supervise", "s6-svc", "s6-svstat"},
		begin:    func(d *deployment) { d.background("s6-supervise", d.service()) },
		pid: func(d *deployment) int {
			text, _ := d.run("s6-svstat", "-o", "pid", d.path("service/hello")) // -1: down
			pid, _ := strconv.Atoi(text)
			return max(0, pid)
		},
		hup: svc("-h"), stop: svc("-wD", "-T", "40000", "-d"), start: svc("-wu", "-T", "40000", "-u"),
		log: readLog("out"),
	}
}

func daemontools() supervisor {
	svc := func(word string) func(*deployment) {
		return func(d *deployment) { d.must("svc", word, d.path("service/hello")) }
	}
	s := supervisor{
		programs: []string{"supervise", "svc", "svstat"},
		begin:    func(d *deployment) { d.background("supervise", d.service()) },
		pid: func(d *deployment) int { // DIR: up (pid 7) 3 seconds
			text, _ := d.run("svstat", d.path("service/hello"))
			_, text, _ = strings.Cut(text, "(pid ")
			text, _, _ = strings.Cut(text, ")")
			pid, _ := strconv.Atoi(text)
			return pid
		},
		hup: svc("-h"), start: svc("-u"),
		log: readLog("out"),
	}
	s.stop = func(d *deployment) { // it does not wait
		svc("-d")(d)
		d.awaits("the end", func() bool { return s.pid(d) == 0 })
	}
	return s
}

// TestSupervisors: what each believes stays true over upgrades, and whatever it does to
// the pid happens to the service.
func TestSupervisors(t *testing.T) {
	t.Parallel()
	for name, s := range supervisors() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			needs(t, s.programs...)
			d := deploy(t)
			d.check(os.Mkdir(d.path("run.d"), 0o755))
			s.begin(d)
			d.supervised(s)
		})
	}
}

func (d *deployment) supervised(s supervisor) {
	now := d.serves("v1")
	pid := d.knows(s, now)
	stays := func(after string) {
		d.Helper()
		d.settles(now)
		if got := s.pid(d); got != pid || pid == now.pid {
			d.Errorf("after %s the pid is %d, and was %d; the service is pid %d", after, got, pid, now.pid)
		}
		d.awaits(fmt.Sprintf("pid %d to be a child of pid %d", now.pid, pid), func() bool {
			p, err := readProcess(now.pid)
			return err == nil && p.parent == pid
		})
	}
	stays("the start")
	lines := 0
	d.under(func() {
		for i, version := range []string{"v2", "v1", "v2"} {
			d.install(version)
			if i < 2 {
				s.hup(d)
			} else {
				d.must(d.path("hello"), "reload")
			}
			now = d.serves(version, now.pid)
			for range 50 {
				d.get(fmt.Sprintf("/log?n=%d.", lines))
				lines++
			}
			stays("an upgrade")
		}
	})

	d.install("broken")
	if text, code := d.run(d.path("hello"), "reload"); code != 1 || !strings.Contains(text, "exit status 3") {
		d.Errorf("reload of a broken build: exit status %d: %s", code, text)
	}
	stays("an upgrade that failed")
	d.install("v2")

	d.stopsInOrder(s)
	s.start(d)
	now = d.serves("v2")
	now, pid = d.comesBack(now, s, now.pid) // the service has crashed
	now, pid = d.comesBack(now, s, pid)     // the process with the pid has
	stays("a restart")
	d.must(d.path("hello"), "stop")
	if s.final {
		d.awaits("it to know of the end", func() bool { return s.pid(d) == 0 })
	} else {
		d.knows(s, d.serves("v2", now.pid))
		s.stop(d)
	}
	// sv of runit may look at a state that is older than the last start.
	d.awaits("nobody to be left", func() bool { return len(d.generations()) == 0 })

	text := s.log(d)
	for i := range lines {
		if n := strings.Count(text, fmt.Sprintf("line %d. of the log\n", i)); n != 1 {
			d.Fatalf("line %d is %d times in the log", i, n)
		}
	}
}

// settles waits until a process owns the service, and no upgrade is under way.
func (d *deployment) settles(a answer) {
	d.Helper()
	d.awaits(fmt.Sprintf("pid %d to own the service", a.pid), func() bool {
		text, code := d.run(d.path("hello"), "status")
		return code == 0 && strings.Contains(text, fmt.Sprintf("(pid %d), generation", a.pid))
	})
}

// stopsInOrder stops the service while a request is in hand.
func (d *deployment) stopsInOrder(s supervisor) {
	d.Helper()
	d.inHand(func() { s.stop(d) })
	if pid, left := s.pid(d), d.generations(); pid != 0 || len(left) > 0 {
		d.Errorf("after the stop the pid is %d, and there are %v", pid, left)
	}
}

// comesBack kills a process, and waits until the supervisor has started the service
// anew.
func (d *deployment) comesBack(before answer, s supervisor, kill int) (answer, int) {
	d.Helper()
	d.check(syscall.Kill(kill, syscall.SIGKILL))
	now := d.serves("v2", before.pid)
	return now, d.knows(s, now)
}

// knows waits until the supervisor has written down what it has started, which may serve
// before, and returns its pid.
func (d *deployment) knows(s supervisor, now answer) (pid int) {
	d.Helper()
	d.awaits(fmt.Sprintf("the supervisor to have the pid of the parent of pid %d", now.pid), func() bool {
		p, err := readProcess(now.pid)
		pid = s.pid(d)
		return err == nil && pid != 0 && p.parent == pid
	})
	return pid
}

// TestSupervisordKills: what does not end in time is killed, all generations of it.
func TestSupervisordKills(t *testing.T) {
	t.Parallel()
	s := supervisord("stopwaitsecs=40", "stopwaitsecs=1")
	needs(t, s.programs...)
	d := deploy(t)
	d.check(os.Mkdir(d.path("run.d"), 0o755))
	s.begin(d)
	now := d.serves("v1")
	go d.ask("/sleep?d=1m") // it ends with the service
	d.awaits("a request to be in hand", func() bool { return d.get("/asleep") == "1" })
	d.install("v2")
	d.must(d.path("hello"), "reload")
	d.serves("v2", now.pid)
	go d.ask("/sleep?d=1m")
	d.awaits("a request to be in hand", func() bool { return d.get("/asleep") == "1" })
	s.stop(d)
	d.awaits("the end", func() bool { return len(d.generations()) == 0 })
}

// TestForeman has no words for one program of several but signals.
func TestForeman(t *testing.T) {
	t.Parallel()
	needs(t, "foreman")
	d := deploy(t)
	d.check(os.Mkdir(d.path("run.d"), 0o755))
	host, port, _ := strings.Cut(d.addr, ":")
	d.write("Procfile", d.block(t, "Procfile", " :$PORT", " "+host+":$PORT"), 0o644)
	foreman := d.background("foreman", "start", "-t", "40", "-p", port)
	now := d.serves("v1")
	p, err := readProcess(now.pid)
	d.check(err)
	d.under(func() {
		for _, version := range []string{"v2", "v1"} {
			d.install(version)
			d.check(syscall.Kill(p.parent, syscall.SIGHUP))
			now = d.serves(version, now.pid)
			d.settles(now)
		}
	})
	d.settles(now)
	d.inHand(func() { d.check(foreman.Process.Signal(syscall.SIGTERM)) })
	d.awaits("the end", func() bool { return len(d.generations()) == 0 })
}
