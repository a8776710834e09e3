//go:build linux

package test

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/gracerun/grace/test/harness"
)

// A fault is something that goes wrong during an upgrade, under load.
type fault struct {
	name   string
	times  times
	change func(*harness.Config)
	do     func(*scene) // until the fault is over; nothing of it may be left
	serves int          // the generation that serves afterwards; 0 = as do has left it
	says   []string     // the words of one line of the log
}

// run checks what every fault has to leave behind: one process that serves, with
// no more descriptors and goroutines than without the fault; a word about it;
// no pid file but its own; the socket file; no request lost; and a next upgrade that works.
func (f *fault) run(t *testing.T) {
	s := newScene(t, f.times, f.change)
	want := s.steadyCount()
	if f.serves != 1 && f.change == nil {
		want = normalSuccessor(t)
	}
	socket := s.socketInfo()

	s.startLoad()
	f.do(s)
	generation := f.serves
	if generation == 0 {
		generation, _, _ = s.Who(s.ctx)
	}
	pid := s.serves(generation)
	if len(f.says) > 0 {
		s.logs(f.says...)
	}
	s.alone()
	s.nothingPrepared()
	s.endLoad()
	if f.serves == 1 || f.change == nil {
		s.countsAs(want)
	}

	s.must(s.Install(build(t, "test/testdata/service")))
	s.startLoad()
	if next := s.upgrade(); next == pid {
		t.Errorf("the next upgrade left pid %d in place", pid)
	}
	s.alone()
	s.endLoad()
	if !os.SameFile(socket, s.socketInfo()) {
		t.Error("the socket file is another")
	}
	s.finish()
}

func runFaults(t *testing.T, faults []fault) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			f.run(t)
		})
	}
}

const refused = "upgrade failed: this generation serves on"

// TestNewBinary installs what cannot become the next generation. The old one
// serves on, and says why.
func TestNewBinary(t *testing.T) {
	t.Parallel()
	hup := func(do func(*scene) error) func(*scene) {
		return func(s *scene) {
			s.must(do(s))
			s.hup()
			s.logs(refused)
		}
	}
	text := func(text string, mode os.FileMode) func(*scene) {
		return hup(func(s *scene) error { return s.InstallText(text, mode) })
	}
	short := times{ready: time.Second}
	runFaults(t, []fault{
		{name: "is missing", serves: 1,
			do:   hup(func(s *scene) error { return s.Uninstall() }),
			says: []string{refused, "stage=start", "no such file or directory"}},
		{name: "is a directory", serves: 1,
			do: func(s *scene) {
				s.must(errors.Join(s.Uninstall(), os.Mkdir(s.Path, 0o755)))
				s.hup()
				s.logs(refused)
				s.must(s.Uninstall())
			},
			says: []string{refused, "stage=start", "is a directory"}},
		{name: "is not executable", serves: 1,
			do:   text("#!/bin/sh\n", 0o644),
			says: []string{refused, "stage=start", "permission denied"}},
		{name: "is garbage", serves: 1,
			do:   text("\x00\x01\x02 garbage", 0o755),
			says: []string{refused, "stage=start", "exec format error"}},
		{name: "is empty", serves: 1,
			do:   text("", 0o755),
			says: []string{refused, "stage=start", "exec format error"}},
		{name: "has no interpreter", serves: 1,
			do:   text("#!/no/such/shell\n", 0o755),
			says: []string{refused, "stage=start", "no such file or directory"}},
		{name: "exits", serves: 1,
			do:   text("#!/bin/sh\necho the disk is on fire >&2\nexit 3\n", 0o755),
			says: []string{refused, "stage=start", "exit status 3", "the disk is on fire"}},
		{name: "exits, and standard error is a pipe", serves: 1,
			change: func(c *harness.Config) { c.LogPipe = true },
			do:     text("#!/bin/sh\nexit 3\n", 0o755),
			says:   []string{refused, "stage=start", "exit status 3"}},
		{name: "exits with status 0", serves: 1,
			do:   text("#!/bin/sh\nexit 0\n", 0o755),
			says: []string{refused, "stage=start", "exit status 0"}},
		{name: "is another program", serves: 1, times: short,
			do:   text("#!/bin/sh\nexec sleep 600\n", 0o755),
			says: []string{refused, "stage=start", "not serving after 1s"}},
		{name: "is another program with a child", serves: 1, times: short,
			do:   text("#!/bin/sh\nsleep 600\nexit 0\n", 0o755),
			says: []string{refused, "stage=start", "not serving after 1s"}},
	})
}

// TestNewProcess has the next generation fail at each of its steps.
func TestNewProcess(t *testing.T) {
	t.Parallel()
	order := func(step, order string) func(*scene) {
		return func(s *scene) {
			s.d.next(step, order)
			s.hup()
			s.logs(refused)
		}
	}
	hang := func(step string) func(*scene) {
		return func(s *scene) {
			s.childAt(step)
			s.logs(refused)
		}
	}
	short := times{ready: time.Second}
	runFaults(t, []fault{
		{name: "exits before it says hello", serves: 1, do: order("spawn", "exit out of luck"),
			says: []string{refused, "stage=start", "exit status 3", "out of luck"}},
		{name: "panics before it says hello", serves: 1, do: order("spawn", "panic out of luck"),
			says: []string{refused, "stage=start", "exit status 2", "out of luck"}},
		{name: "hangs before it says hello", serves: 1, times: short, do: hang("spawn"),
			says: []string{refused, "stage=start", "not serving after 1s"}},
		{name: "exits in init", serves: 1, do: order("init", "exit out of luck"),
			says: []string{refused, "stage=init", "exit status 3", "out of luck"}},
		{name: "panics in init", serves: 1, do: order("init", "panic out of luck"),
			says: []string{refused, "stage=init", "panic: out of luck"}},
		{name: "panics in init, and standard error is a pipe", serves: 1, do: order("init", "panic out of luck"),
			change: func(c *harness.Config) { c.LogPipe = true },
			says:   []string{refused, "stage=init", "panic: out of luck"}},
		{name: "hangs in init", serves: 1, times: short, do: hang("init"),
			says: []string{refused, "stage=init", "not serving after 1s"}},
		{name: "exits in Setup", serves: 1, do: order("setup", "exit out of luck"),
			says: []string{refused, "stage=setup", "exit status 3", "out of luck"}},
		{name: "panics in Setup", serves: 1, do: order("setup", "panic out of luck"),
			says: []string{refused, "stage=setup", "panic: out of luck"}},
		{name: "fails Setup", serves: 1, do: order("setup", "error out of luck"),
			says: []string{refused, "stage=setup", `error="out of luck"`}},
		{name: "hangs in Setup", serves: 1, times: short, do: hang("setup"),
			says: []string{refused, "stage=setup", "not serving after 1s"}},
		{name: "cannot bind its new address", serves: 1, do: order("setup", "serve 192.0.2.1:1"), // TEST-NET-1, RFC 5737
			says: []string{refused, "stage=listen", "192.0.2.1:1: bind: cannot assign requested address"}},
		{name: "exits in Check", serves: 1,
			do: func(s *scene) { // it serves already: what it has in hand dies with it
				h := s.childAt("check")
				h.tell("exit out of luck")
				s.logs(refused)
				s.killed = append(s.killed, death{h.pid, time.Now()})
			},
			says: []string{refused, "stage=check", "exit status 3", "out of luck"}},
		{name: "fails Check", serves: 1, do: order("check", "error out of luck"),
			says: []string{refused, "stage=check", `error="out of luck"`}},
		{name: "hangs in Check", serves: 1, times: times{ready: short.ready, drain: time.Second}, do: hang("check"),
			says: []string{refused, "stage=check", "not serving after 1s"}},
	})
}
