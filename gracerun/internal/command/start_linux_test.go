package command_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun/internal/command"
	"github.com/gracerun/grace/test/harness"
)

// An inventory is what a program has inherited.
type inventory struct {
	Env    []string
	FDs    []string
	UID    int
	GID    int
	Groups []int
	Group  int // leads it?
	PID    int
	Dir    string
}

// playInventory prints it, and stays.
func playInventory() error {
	inv := inventory{Env: os.Environ(), UID: os.Getuid(), GID: os.Getgid(), Group: syscall.Getpgrp(), PID: os.Getpid()}
	inv.Groups, _ = os.Getgroups()
	inv.Dir, _ = os.Getwd()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || strings.Contains(to, "anon_inode") || strings.Contains(to, "cgroup") || strings.HasPrefix(to, "/sys/") { // the runtime's own
			continue
		}
		inv.FDs = append(inv.FDs, e.Name()+" "+to)
	}
	f, err := os.OpenFile("/dev/stdout", os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(f).Encode(inv); err != nil {
		return err
	}
	select {}
}

// helper is a program that plays the part.
func helper(name, part string, env ...string) command.Spec {
	s := shell(name, "")
	s.Cmd = func(context.Context) *exec.Cmd {
		cmd := exec.Command(program())
		cmd.Env = append(os.Environ(), append(env, "COMMAND_HELPER="+part, "GORACE=atexit_sleep_ms=0")...)
		return cmd
	}
	return s
}

// program is the test binary, where every user can reach it.
func program() string {
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		panic(err)
	}
	return path
}

// take waits for the inventory of the program.
func (g *guard) inventory(name string) (inv inventory) {
	g.t.Helper()
	until(g.t, "it has looked", func() bool {
		lines := g.log.lines(name, "stdout")
		return len(lines) > 0 && json.Unmarshal([]byte(lines[0]), &inv) == nil
	})
	return inv
}

// TestNothingIsInherited that is the service's: descriptors, variables.
func TestNothingIsInherited(t *testing.T) {
	for _, v := range []string{
		"GRACERUN_X=1", "TABLEFLIP_HAS_PARENT_7DIU3=yes", "NOTIFY_SOCKET=/run/x", "LISTEN_PID=1", "LISTEN_FDS=1",
		"LISTEN_FDNAMES=x", "LISTEN_PIDFDID=1", "WATCHDOG_PID=1", "WATCHDOG_USEC=1", "MAINPID=1", "FDSTORE=1",
	} {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	fd, err := syscall.Open(os.DevNull, syscall.O_RDONLY, 0) // a library that does not know close-on-exec
	check(t, err)
	defer syscall.Close(fd)
	for name, keeper := range map[string]bool{"kernel": false, "keeper": true} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.keeper = keeper
			spec := helper("x", "inventory", "LISTEN_FDS=7") // the user's own
			spec.ReadyDelay = time.Millisecond
			g := s.guard(spec)
			inv := g.inventory("x")
			for _, v := range inv.Env {
				for _, ours := range []string{"GRACERUN", "TABLEFLIP", "NOTIFY", "LISTEN", "WATCHDOG", "MAINPID", "FDSTORE"} {
					if strings.HasPrefix(v, ours) && v != "LISTEN_FDS=7" {
						t.Errorf("inherited %s", v)
					}
				}
			}
			if !slices.Contains(inv.Env, "LISTEN_FDS=7") {
				t.Error("what the user sets is lost")
			}
			if len(inv.FDs) != 3 || inv.FDs[0] != "0 /dev/null" {
				t.Errorf("descriptors %q", inv.FDs)
			}
			if inv.Group != inv.PID {
				t.Errorf("group %d of pid %d", inv.Group, inv.PID)
			}
			check(t, g.stop())
		})
	}
}

// TestKeeperFindsItsLibraries: the service may need a variable to be started at all.
func TestKeeperFindsItsLibraries(t *testing.T) {
	t.Setenv("LD_LIBRARY_PATH", "/nowhere")
	t.Setenv("NOTIFY_SOCKET", "/run/x")
	s := newScene(t)
	s.keeper = true
	spec := shell("x", "tr '\\0' '\\n' </proc/$PPID/environ | grep -E '^(LD_|NOTIFY)'")
	spec.Restart = command.Never
	if st := s.guard(spec).await("x", command.Done); !slices.Equal(st.Output, []string{"LD_LIBRARY_PATH=/nowhere"}) {
		t.Errorf("%+v", st)
	}
}

// TestUser: a program is run as another, with the groups and the home of the user.
func TestUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can be another user")
	}
	scenes(t, func(t *testing.T, s *scene) {
		spec := helper("x", "inventory")
		spec.User = "daemon"
		bin := filepath.Join(everybodys(t), "program")
		text, err := os.ReadFile(program())
		check(t, err)
		check(t, harness.WriteProgram(bin, text, 0o755))
		spec.Cmd = func(context.Context) *exec.Cmd {
			return exec.Command("/bin/sh", "-c", "cd /; COMMAND_HELPER=inventory exec "+bin)
		}
		g := s.guard(spec)
		inv := g.inventory("x")
		if inv.UID != 1 || inv.GID != 1 || !slices.Contains(inv.Env, "USER=daemon") || !slices.Contains(inv.Env, "LOGNAME=daemon") || !slices.Contains(inv.Env, "HOME=/usr/sbin") {
			t.Errorf("%+v", inv)
		}
		if slices.Contains(inv.Groups, 0) {
			t.Errorf("groups %d", inv.Groups)
		}
		check(t, g.stop())
	})
}

// everybodys is a directory that every user can reach, unlike t.TempDir.
func everybodys(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "command")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	check(t, os.Chmod(dir, 0o755))
	return dir
}

// TestCannotStart: each is reported, with the way out, and hinders no other.
func TestCannotStart(t *testing.T) {
	t.Parallel()
	scenes(t, func(t *testing.T, s *scene) {
		dir := t.TempDir()
		write := func(name, text string, mode fs.FileMode) string {
			path := filepath.Join(dir, name)
			check(t, harness.WriteProgram(path, []byte(text), mode))
			return path
		}
		exe := func(path string) command.Spec {
			spec := shell(filepath.Base(path), "")
			spec.Cmd = func(context.Context) *exec.Cmd { return exec.Command(path) }
			spec.Failures = 2
			return spec
		}
		with := func(spec command.Spec, change func(*command.Spec)) command.Spec { change(&spec); return spec }
		cmd := func(name string, change func(*exec.Cmd)) command.Spec {
			spec := shell(name, "exec sleep 1000")
			f := spec.Cmd
			spec.Cmd = func(ctx context.Context) *exec.Cmd { c := f(ctx); change(c); return c }
			spec.Failures = 2
			return spec
		}
		wrong := map[string]struct {
			spec command.Spec
			want string
		}{
			"missing":     {exe(filepath.Join(dir, "missing")), "no such file or directory: install it"},
			"nowhere":     {exe("nowhere-to-be-found"), `exec: "nowhere-to-be-found": executable file not found in $PATH`},
			"plain":       {exe(write("plain", "#!/bin/sh\n", 0o644)), "permission denied"},
			"no loader":   {exe(write("no loader", "#!/no/such/shell\n", 0o755)), "its interpreter"},
			"garbage":     {exe(write("garbage", "garbage", 0o755)), "no program for this machine"},
			"user":        {with(exe("/bin/sleep"), func(s *command.Spec) { s.Name, s.User = "user", "no-such-user" }), `Command.User "no-such-user": there is no such user`},
			"group":       {with(exe("/bin/sleep"), func(s *command.Spec) { s.Name, s.Group = "group", "no-such-group" }), `Command.Group "no-such-group"`},
			"number":      {with(exe("/bin/sleep"), func(s *command.Spec) { s.Name, s.User = "number", "54321" }), "set Command.Group, too"},
			"dir":         {cmd("dir", func(c *exec.Cmd) { c.Dir = filepath.Join(dir, "no") }), "no such file"},
			"writer":      {cmd("writer", func(c *exec.Cmd) { c.Stdout = &bytes.Buffer{} }), "only an *os.File"},
			"pdeathsig":   {cmd("pdeathsig", func(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: 9} }), "Pdeathsig"},
			"nothing":     {with(exe("/bin/sleep"), func(s *command.Spec) { s.Name, s.Cmd = "nothing", func(context.Context) *exec.Cmd { return nil } }), "returned no command"},
			"whom it not": {with(exe(write("private", "#!/bin/sh\n", 0o700)), func(s *command.Spec) { s.Name, s.User, s.Group = "whom it not", "54321", "54321" }), "the user 54321 must be able to execute it"},
		}
		var specs []command.Spec
		for _, name := range sortedKeys(wrong) {
			if name == "whom it not" && os.Geteuid() != 0 {
				continue
			}
			specs = append(specs, wrong[name].spec)
		}
		check(t, os.Chmod(dir, 0o755))
		g := s.guard(append(specs, shell("good", "exec sleep 1000"))...)
		g.await("good", command.Running)
		for _, spec := range specs {
			st := g.await(spec.Name, command.Failed)
			if want := wrong[spec.Name].want; !strings.Contains(st.Error, want) && spec.Name == filepath.Base(spec.Name) {
				t.Errorf("%s: %q, want %q", spec.Name, st.Error, want)
			}
		}
		check(t, g.stop())
	})
}

func sortedKeys[V any](m map[string]V) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// TestMissingNamesItself: the error is the standard library's.
func TestMissingNamesItself(t *testing.T) {
	t.Parallel()
	scenes(t, func(t *testing.T, s *scene) {
		spec := shell("x", "")
		spec.Cmd = func(context.Context) *exec.Cmd { return exec.Command("/no/such/program") }
		spec.Restart = command.Never
		g := s.guard(spec)
		if st := g.await("x", command.Failed); st.Error != "fork/exec /no/such/program: no such file or directory: install it, or name another" {
			t.Errorf("%q", st.Error)
		}
	})
}

// TestOwnFiles: a program with files of the user's has no FIFO, and yet is found
// again.
func TestOwnFiles(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	check(t, err)
	defer out.Close()
	in, err := os.Open("/etc/hostname")
	check(t, err)
	defer in.Close()
	spec := shell("x", "cat; echo extra >&3; echo end >&2; exec sleep 1000")
	cmd := spec.Cmd
	spec.Cmd = func(ctx context.Context) *exec.Cmd {
		c := cmd(ctx)
		c.Stdin, c.Stdout, c.Stderr, c.ExtraFiles = in, out, out, []*os.File{out}
		return c
	}
	g := s.guard(spec)
	pid := g.await("x", command.Running).PID
	want, err := os.ReadFile("/etc/hostname")
	check(t, err)
	until(t, "it wrote", func() bool {
		text, _ := os.ReadFile(out.Name())
		return string(text) == string(want)+"extra\nend\n"
	})
	next := s.guardLater(spec)
	g.leave()
	g = next()
	if got := g.await("x", command.Running).PID; got != pid {
		t.Errorf("pid %d became %d", pid, got)
	}
	check(t, g.stop())
	if st := g.status("x"); st.LastExit != "signal: terminated" {
		t.Errorf("%+v", st)
	}
	s.wantFiles()
}

// TestNoSuchFile: a descriptor that the user leaves out is not there, in either way.
func TestNoSuchFile(t *testing.T) {
	t.Parallel()
	scenes(t, func(t *testing.T, s *scene) {
		f, err := os.Open(os.DevNull)
		check(t, err)
		defer f.Close()
		spec := shell("x", "[ -e /proc/$$/fd/3 ] && [ ! -e /proc/$$/fd/4 ] && [ -e /proc/$$/fd/5 ] || ls -l /proc/$$/fd; exit 7")
		spec.Restart = command.Never
		cmd := spec.Cmd
		spec.Cmd = func(ctx context.Context) *exec.Cmd {
			c := cmd(ctx)
			c.ExtraFiles = []*os.File{f, nil, f}
			return c
		}
		if st := s.guard(spec).await("x", command.Done); st.LastExit != "exit status 7" || len(st.Output) > 0 {
			t.Errorf("%+v", st)
		}
	})
}

// TestReaderGone: who writes to a pipe of the user's learns that nobody reads it.
func TestReaderGone(t *testing.T) {
	t.Parallel()
	scenes(t, func(t *testing.T, s *scene) {
		r, w, err := os.Pipe()
		check(t, err)
		defer r.Close()
		defer w.Close()
		spec := shell("x", "trap '' PIPE; while echo x; do :; done 2>/dev/null; exit 7")
		spec.Restart = command.Never
		cmd := spec.Cmd
		spec.Cmd = func(ctx context.Context) *exec.Cmd {
			c := cmd(ctx)
			c.Stdout = w
			return c
		}
		g := s.guard(spec)
		g.await("x", command.Running)
		check(t, r.Close())
		if st := g.await("x", command.Done); st.LastExit != "exit status 7" {
			t.Errorf("%+v", st)
		}
	})
}

// TestReady of each kind.
func TestReady(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	address := free.Addr().String()
	check(t, free.Close())
	for name, c := range map[string]struct {
		spec command.Spec
		set  func(*command.Spec)
	}{
		"delay":        {shell("x", "exec sleep 1000"), func(s *command.Spec) { s.ReadyDelay = 150 * time.Millisecond }},
		"line":         {shell("x", "sleep 0.15; echo it listens now; exec sleep 1000"), func(s *command.Spec) { s.ReadyLine = "listens? now$" }},
		"error line":   {shell("x", "sleep 0.15; echo up >&2; exec sleep 1000"), func(s *command.Spec) { s.ReadyLine = "^up$" }},
		"address":      {helper("x", "listen", "LISTEN_AT="+address), func(s *command.Spec) { s.ReadyAddress = address }},
		"notify":       {helper("x", "notify"), func(s *command.Spec) { s.ReadyNotify = true }},
		"line & delay": {shell("x", "echo up; exec sleep 1000"), func(s *command.Spec) { s.ReadyDelay, s.ReadyLine = 150*time.Millisecond, "up" }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			c.set(&c.spec)
			g := s.guard(c.spec, shell("next", "exec sleep 1000"))
			first := g.await("x", command.Starting)
			if first.PID == 0 {
				until(t, "it is started", func() bool { first = g.status("x"); return first.PID != 0 })
			}
			if st := g.status("next"); st.State != command.Waiting {
				t.Errorf("the next one does not wait: %+v", st)
			}
			next := g.await("next", command.Running)
			x := g.status("x")
			if x.State != command.Running || x.PID != first.PID || next.Since.Sub(x.Since) < 100*time.Millisecond {
				t.Errorf("%+v, then %+v", x, next)
			}
			check(t, g.stop())
		})
	}
}

// playListen listens late.
func playListen() error {
	<-time.After(150 * time.Millisecond)
	ln, err := net.Listen("tcp", os.Getenv("LISTEN_AT"))
	if err != nil {
		return err
	}
	for {
		if _, err := ln.Accept(); err != nil {
			return err
		}
	}
}

// playNotify says READY=1 late, as sd_notify(3) does.
func playNotify() error {
	<-time.After(150 * time.Millisecond)
	if err := notify(os.Getenv("NOTIFY_SOCKET"), "STATUS=up\nREADY=1\n"); err != nil {
		return err
	}
	select {}
}

func notify(socket, text string) error {
	conn, err := net.Dial("unixgram", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(text))
	return err
}

// TestNotReady in time is a failure, and hinders no other.
func TestNotReady(t *testing.T) {
	t.Parallel()
	scenes(t, func(t *testing.T, s *scene) {
		spec := shell("x", "exec sleep 1000")
		spec.ReadyLine, spec.ReadyTimeout, spec.Failures = "never", 100*time.Millisecond, 2
		g := s.guard(spec, shell("next", "exec sleep 1000"))
		st := g.await("x", command.Failed)
		if st.PID != 0 || st.Error != "given up after 2 failures: not ready within 100ms: missing line" || st.LastExit != "signal: terminated" {
			t.Errorf("%+v", st)
		}
		if next := g.await("next", command.Running); next.Since.After(st.Since) {
			t.Errorf("the next one had to wait: %+v, %+v", next, st)
		}
	})
}

// TestStrangersNotify: only who is of the group can say that the program is ready.
func TestStrangersNotify(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	spec := shell("x", `echo "$NOTIFY_SOCKET"; exec sleep 1000`)
	spec.ReadyNotify = true
	g := s.guard(spec)
	until(t, "its socket is known", func() bool { return len(s.log.lines("x", "stdout")) == 1 })
	socket := s.log.lines("x", "stdout")[0]
	if !strings.HasPrefix(socket, "@gracerun-") {
		t.Fatalf("socket %q", socket)
	}
	for range 20 { // each is read before the next is answered: the queue is short
		check(t, notify(socket, "READY=1"))
	}
	if st := g.status("x"); st.State != command.Starting {
		t.Errorf("%+v", st)
	}
	check(t, g.stop())
	until(t, "the socket is gone", func() bool { // who is just being started has it for a moment, too
		return errors.Is(notify(socket, "READY=1"), syscall.ECONNREFUSED)
	})
}

// TestReadyAfterHandOver: a successor hears it.
func TestReadyAfterHandOver(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spec command.Spec
		set  func(*command.Spec)
	}{
		"line":   {shell("x", "echo half; read x <$GO; echo up; exec sleep 1000"), func(s *command.Spec) { s.ReadyLine = "up" }},
		"notify": {helper("x", "notify on order"), func(s *command.Spec) { s.ReadyNotify = true }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			fifo := filepath.Join(t.TempDir(), "fifo")
			check(t, syscall.Mkfifo(fifo, 0o600))
			c.set(&c.spec)
			cmd := c.spec.Cmd
			c.spec.Cmd = func(ctx context.Context) *exec.Cmd {
				made := cmd(ctx)
				made.Env = append(made.Environ(), "GO="+fifo)
				return made
			}
			g := s.guard(c.spec)
			var pid int
			until(t, "it is started", func() bool { pid = g.status("x").PID; return pid != 0 })
			for range 3 {
				next := s.guardLater(c.spec)
				g.leave()
				g = next()
				if st := g.await("x", command.Starting); st.PID != pid {
					t.Errorf("%+v", st)
				}
			}
			check(t, os.WriteFile(fifo, []byte("\n"), 0))
			if st := g.await("x", command.Running); st.PID != pid {
				t.Errorf("%+v", st)
			}
			check(t, g.stop())
		})
	}
}

func playNotifyOnOrder() error {
	if _, err := os.ReadFile(os.Getenv("GO")); err != nil {
		return err
	}
	return playNotify()
}
