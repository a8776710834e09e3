//go:build linux

package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/test/harness"
)

// builder compiles the program once for all tests.
var builder harness.Builder

// TestMain is also the programs that are supervised.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "play" {
		play(os.Args[2], os.Args[3:])
	}
	code := m.Run()
	if err := builder.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// play is a program. It ends by SIGTERM, if nothing else is said.
func play(part string, args []string) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	switch part {
	case "in-turn": // writes to a file when it begins, is ready, and ends
		diary, name := args[0], args[1]
		note(diary, name+" begins")
		becomeReady(args[2], func() { note(diary, name+" is ready") })
		<-ctx.Done()
		note(diary, name+" ends")
	case "idle":
		fmt.Println("idle", args)
		<-ctx.Done()
	case "count": // writes numbered lines, and says which was the last
		n := 0
		for ; ctx.Err() == nil; n++ {
			fmt.Println("line", n)
			time.Sleep(500 * time.Microsecond)
		}
		fmt.Println("last", n)
	case "stubborn": // ignores SIGTERM, as does its child
		signal.Ignore(syscall.SIGTERM)
		if len(args) == 0 {
			cmd := exec.Command(os.Args[0], "play", "stubborn", "child")
			cmd.Stdout = os.Stdout
			fmt.Println(cmd.Start())
		}
		select {}
	case "crash":
		fmt.Println("crashing")
		os.Exit(3)
	}
	os.Exit(0)
}

func note(diary, text string) {
	f, err := os.OpenFile(diary, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text + "\n")
		f.Close()
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// becomeReady calls before just before the world can see it.
func becomeReady(way string, before func()) {
	var err error
	switch {
	case way == "line":
		before()
		fmt.Println("ready to go")
	case way == "notify":
		var c net.Conn
		if c, err = net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET")); err == nil {
			before()
			_, err = c.Write([]byte("READY=1"))
		}
	default: // it is the address
		before()
		_, err = net.Listen("tcp", way)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// entry is the text of a program that plays a part.
func entry(t *testing.T, name string, part []string, more ...string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return command(name, append([]string{self, "play"}, part...), more...)
}

func command(name string, args []string, more ...string) string {
	list, _ := json.Marshal(args) // which is TOML, too
	return fmt.Sprintf("[[program]]\nname = %q\ncommand = %s\n%s\n", name, list, strings.Join(more, "\n"))
}

// A service is supervise, with a file of programs and a run directory of its own.
type service struct {
	*harness.Service
	t      *testing.T
	ctx    context.Context
	cancel context.CancelFunc
	env    []string // of the verbs
	met    map[int]bool
	reaped sync.WaitGroup
}

// start calls supervise start, which has to succeed.
func start(t *testing.T, programs ...string) *service {
	t.Helper()
	binary, err := builder.Build(".")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	s := &service{t: t, ctx: ctx, cancel: cancel, met: map[int]bool{}}
	s.Service, err = harness.Start(harness.Config{
		Binary:  binary,
		Name:    "supervise",
		Args:    []string{"-config", "programs.toml", "-rundir", "run", "start"},
		Prepare: func(hs *harness.Service) error { s.Service = hs; s.configure(programs...); return nil },
	})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(s.end)
	s.env = s.Environ()
	if err := s.Exited(ctx, s.First); err != nil {
		t.Fatal(err)
	}
	if ws, ok := s.Service.Status(s.First); !ok || ws.ExitStatus() != 0 {
		t.Fatalf("start ended with %v, %v:\n%s", ws, ok, s.Log())
	}
	return s
}

// end closes the service, which a test that succeeds has stopped.
func (s *service) end() {
	s.cancel()
	s.reaped.Wait()
	if s.t.Failed() {
		s.t.Logf("%s\n%s", s.Log(), s.read("log.txt"))
	}
	if err := s.Close(); err != nil && !s.t.Failed() {
		s.t.Error(err)
	}
}

// configure writes the file, as an editor does. All logs go to one file.
func (s *service) configure(programs ...string) {
	s.t.Helper()
	name := s.path("programs.toml")
	text := fmt.Sprintf("log = %q\n", s.path("log.txt")) + strings.Join(programs, "")
	err := os.WriteFile(name+".new", []byte(text), 0o600)
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *service) path(name string) string { return filepath.Join(s.Root, name) }

// read is a file of the service.
func (s *service) read(name string) string {
	text, err := os.ReadFile(s.path(name))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// verb runs supervise and returns what it printed.
func (s *service) verb(exit int, args ...string) string {
	s.t.Helper()
	cmd := exec.CommandContext(s.ctx, s.Path, append([]string{"-config", "programs.toml", "-rundir", "run"}, args...)...)
	cmd.Dir = s.Root
	cmd.Env = slices.Clone(s.env)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	text, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != exit {
		s.t.Errorf("%q: exit status %d, not %d:\n%s", args, got, exit, text)
	}
	return string(text)
}

// A status is what supervise status --json says.
type status struct {
	PID, Generation int
	Commands        []state
}

type state struct {
	Name, State, Error string
	LastExit           string `json:"last_exit"`
	PID, Restarts      int
	Output             []string
}

// await asks for the status until it is ok, or fails.
func (s *service) await(what string, ok func(status) bool) status {
	s.t.Helper()
	for {
		text := s.verb(0, "status", "--json")
		var st status
		if err := json.Unmarshal([]byte(text), &st); err != nil {
			s.t.Fatalf("%v: %s", err, text)
		}
		s.meet(st)
		if ok(st) {
			return st
		}
		select {
		case <-s.ctx.Done():
			s.t.Fatalf("it does not come to this: %s\n%s", what, text)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// meet has those reaped at once that become orphans, as init does: they are given
// to this process. How an adopted program has ended is not known before.
func (s *service) meet(st status) {
	pids := []int{st.PID}
	for _, p := range st.Commands {
		pids = append(pids, p.PID)
	}
	for _, pid := range pids {
		if pid != 0 && !s.met[pid] {
			s.met[pid] = true
			s.reaped.Go(func() { s.Exited(s.ctx, pid) })
		}
	}
}

// running waits until all of these programs, and no others, run, and returns their
// pids in this order.
func (s *service) running(names ...string) (pids []int) {
	s.t.Helper()
	return s.runningWithout(0, names...)
}

// runningWithout also waits for the end of one.
func (s *service) runningWithout(pid int, names ...string) (pids []int) {
	s.t.Helper()
	s.await(strings.Join(names, ", ")+" run, and no other", func(st status) bool {
		pids = nil
		var have []string
		for _, p := range st.Commands {
			if p.State == "running" && p.PID != 0 && p.PID != pid {
				have, pids = append(have, p.Name), append(pids, p.PID)
			} else {
				have = append(have, p.Name+" "+p.State)
			}
		}
		return slices.Equal(have, names)
	})
	return pids
}

// program waits until one is as ok says.
func (s *service) program(name, what string, ok func(state) bool) (found state) {
	s.t.Helper()
	s.await(name+" "+what, func(st status) bool {
		i := slices.IndexFunc(st.Commands, func(p state) bool { return p.Name == name })
		if i >= 0 {
			found = st.Commands[i]
		}
		return i >= 0 && ok(found)
	})
	return found
}

// stop ends everything, and checks that it did.
func (s *service) stop() {
	s.t.Helper()
	s.verb(0, "stop")
	if left, err := s.Processes(); err != nil || len(left) > 0 {
		s.t.Errorf("after stop there is %v, %v", left, err)
	}
}
