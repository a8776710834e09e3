package command_test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/gracerun/internal/command"
	"github.com/gracerun/grace/test/harness"
)

func mkfifo(path string) error { return unix.Mkfifo(path, 0o600) }

// deadMailbox is what a successor leaves that was killed before it began.
func deadMailbox(path string) error {
	ln, err := net.ListenUnix("unixpacket", &net.UnixAddr{Net: "unixpacket", Name: path})
	if err != nil {
		return err
	}
	ln.SetUnlinkOnClose(false)
	return ln.Close()
}

// TestHandOver: the program goes on, and how it ends is known.
func TestHandOver(t *testing.T) {
	t.Parallel()
	scenes(t, func(t *testing.T, s *scene) {
		check(t, mkfifo(filepath.Join(s.dir, "go")))
		spec := shell("web", fmt.Sprintf("i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo $i; done; read x <%s/go; printf 'the end'; exit 7", s.dir))
		spec.Restart = command.Never
		g := s.guard(spec)
		first := g.await("web", command.Running)
		check(t, deadMailbox(filepath.Join(s.dir, "svc.commands.DEAD.sock")))
		for range 5 {
			next := s.guardLater(spec)
			g.leave()
			g = next()
			if st := g.await("web", command.Running); st.PID != first.PID || !st.Since.Equal(first.Since) {
				t.Fatalf("%+v became %+v", first, st)
			}
		}
		check(t, os.WriteFile(filepath.Join(s.dir, "go"), []byte("\n"), 0))
		if st := g.await("web", command.Done); st.LastExit != "exit status 7" || st.Restarts != 0 {
			t.Errorf("%+v", st)
		}
		next := s.guardLater(spec)
		g.leave()
		g = next()
		if st := g.await("web", command.Done); st.LastExit != "exit status 7" { // and stays so
			t.Errorf("%+v", st)
		}
		check(t, g.stop())
		var want []string
		for i := range 30 {
			want = append(want, itoa(i+1))
		}
		s.wantOutput("web", "stdout", append(want, "the end")...)
		if n := len(s.log.find("command ended", "web")); n != 1 {
			t.Errorf("its end was seen %d times", n)
		}
		s.wantFiles("go")
	})
}

// TestChanges: only what has changed is restarted, one by one, and what is gone ends
// first.
func TestChanges(t *testing.T) {
	t.Parallel()
	scenes(t, func(t *testing.T, s *scene) {
		same, gone := shell("same", "exec sleep 1000"), shell("gone", "exec sleep 1000")
		one, two := shell("one", "echo up; exec sleep 1000"), shell("two", "echo up; exec sleep 1000")
		one.ReadyLine, two.ReadyLine = "up", "up"
		always := shell("always", "exec sleep 1000")
		always.RestartOnUpgrade = true
		g := s.guard(same, gone, one, two, always)
		g.await("always", command.Running)
		before := map[string]int{}
		for _, st := range g.Status() {
			before[st.Name] = st.PID
		}
		one.ReadyTimeout, two.StopSignal = time.Hour, syscall.SIGINT
		two.Backoff = time.Hour // is no difference to what runs
		fresh := shell("fresh", "exec sleep 1000")
		next := s.guardLater(fresh, same, one, two, always)
		g.leave()
		g = next()
		for _, name := range []string{"fresh", "same", "one", "two", "always"} {
			until(t, name+" runs", func() bool {
				st := g.status(name)
				return st.State == command.Running && (name == "same" || st.PID != before[name])
			})
		}
		if pid := g.status("same").PID; pid != before["same"] {
			t.Errorf("what is the same has pid %d, had %d", pid, before["same"])
		}
		if isAlive(before["gone"]) {
			t.Error("what is gone lives")
		}
		log := s.log.order("command started")
		if want := []string{"same", "gone", "one", "two", "always", "fresh", "one", "two", "always"}; !slices.Equal(log, want) {
			t.Errorf("started %q, want %q", log, want)
		}
		if told := s.log.order("command told to end"); !slices.Equal(told, []string{"gone", "one", "two", "always"}) {
			t.Errorf("told to end: %q", told)
		}
		check(t, g.stop())
		s.wantFiles()
	})
}

// TestExitInHandOver: a program that ends at that very moment is seen once, with its
// exit code and its last words.
func TestExitInHandOver(t *testing.T) {
	t.Parallel()
	rounds := 40
	if testing.Short() {
		rounds = 10
	}
	scenes(t, func(t *testing.T, s *scene) {
		for i := range rounds {
			name := itoa(i)
			check(t, mkfifo(filepath.Join(s.dir, "go")))
			spec := shell(name, fmt.Sprintf("read x <%s/go; echo last; printf words >&2; exit %d", s.dir, i))
			spec.Restart = command.Never
			g := s.guard(spec)
			g.await(name, command.Running)
			next := s.guardLater(spec)
			go os.WriteFile(filepath.Join(s.dir, "go"), []byte("\n"), 0)
			for range rand.N(30000) { // about as long as it takes the program to read
				runtime.Gosched()
			}
			g.leave()
			g = next()
			g.await(name, command.Done)
			check(t, g.stop())
			ends := s.log.find("command ended", name)
			if len(ends) != 1 || ends[0]["exit"] != "exit status "+name {
				t.Fatalf("ended: %v", ends)
			}
			s.wantOutput(name, "stdout", "last")
			s.wantOutput(name, "stderr", "words")
			os.Remove(filepath.Join(s.dir, "go"))
		}
	})
}

// A generation is a supervisor in a process of its own.
type generation struct {
	t      *testing.T
	cmd    *exec.Cmd
	orders io.WriteCloser
	said   *bufio.Scanner
}

// generationOrder is what one does, and where.
type generationOrder struct {
	Dir, Log string
	Keeper   bool
	Part     string   // the programs'
	Names    []string // of the programs
	Env      []string

	binary string // "" = this one
	user   uint32 // 0 = ours
}

// generation starts a process; it waits for "run".
func (o generationOrder) start(t *testing.T) *generation {
	t.Helper()
	text, err := json.Marshal(o)
	check(t, err)
	g := &generation{t: t, cmd: exec.Command(cmp.Or(o.binary, program()))}
	g.cmd.Env = append(os.Environ(), "COMMAND_HELPER=generation", "GENERATION="+string(text), "GORACE=atexit_sleep_ms=0")
	g.cmd.Stderr = os.Stderr
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if o.user != 0 {
		g.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: o.user, Gid: o.user}
	}
	g.orders, err = g.cmd.StdinPipe()
	check(t, err)
	out, err := g.cmd.StdoutPipe()
	check(t, err)
	g.said = bufio.NewScanner(out)
	g.said.Buffer(nil, 1<<20)
	check(t, g.cmd.Start())
	t.Cleanup(func() { g.kill() })
	g.expect("made")
	return g
}

func (g *generation) order(text string) {
	g.t.Helper()
	_, err := io.WriteString(g.orders, text+"\n")
	check(g.t, err)
}

func (g *generation) expect(prefix string) string {
	g.t.Helper()
	if !g.said.Scan() {
		g.t.Fatalf("it said nothing, not %q: %v", prefix, g.said.Err())
	}
	rest, ok := strings.CutPrefix(g.said.Text(), prefix)
	if !ok {
		g.t.Fatalf("it said %q, not %q", g.said.Text(), prefix)
	}
	return strings.TrimSpace(rest)
}

func (g *generation) status() map[string]command.Status {
	g.t.Helper()
	g.order("status")
	var list []command.Status
	check(g.t, json.Unmarshal([]byte(g.expect("status")), &list))
	byName := map[string]command.Status{}
	for _, st := range list {
		byName[st.Name] = st
	}
	return byName
}

// end says how, and waits for the process.
func (g *generation) end(how string) string {
	g.t.Helper()
	g.order(how)
	text := g.expect(how)
	check(g.t, g.orders.Close())
	check(g.t, g.cmd.Wait())
	return text
}

func (g *generation) kill() {
	g.cmd.Process.Kill()
	g.cmd.Wait()
}

// playGeneration obeys.
func playGeneration() error {
	var o generationOrder
	if err := json.Unmarshal([]byte(os.Getenv("GENERATION")), &o); err != nil {
		return err
	}
	os.Unsetenv("GENERATION")
	file, err := os.OpenFile(o.Log, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	var specs []command.Spec
	for _, name := range o.Names {
		spec := helper(name, o.Part, append(o.Env, "PROGRAM_NAME="+name)...)
		spec.Failures = -1
		specs = append(specs, spec)
	}
	log := slog.New(slog.NewJSONHandler(file, nil))
	s := command.New(command.Options{Dir: o.Dir, Name: "svc", Keeper: o.Keeper, Log: log}, specs)
	take, end := context.WithCancel(context.Background())
	defer end()
	keep, result := false, make(chan error, 1)
	fmt.Println("made")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch order := in.Text(); order {
		case "run":
			go func() { result <- s.Run(take, context.Background(), func() bool { return keep }) }()
		case "status":
			text, _ := json.Marshal(s.Status())
			fmt.Printf("status %s\n", text)
		case "leave", "stop":
			begin := time.Now()
			keep = order == "leave"
			end()
			err := <-result
			fmt.Printf("%s %v %v\n", order, time.Since(begin), err)
		}
	}
	return nil
}

// playCount writes numbered lines to both outputs until it is told to end, and exits
// with its own code. Some lines come in two pieces.
func playCount() error {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	tick := time.NewTicker(20 * time.Millisecond)
	for i := 1; ; i++ {
		select {
		case <-tick.C:
		case <-c:
			fmt.Printf("end %d\n", i)
			code, err := strconv.Atoi(os.Getenv("PROGRAM_NAME"))
			if err != nil {
				return err
			}
			os.Exit(code)
		}
		if i%3 == 0 {
			fmt.Printf("line ")
			runtime.Gosched()
			fmt.Printf("%d\n", i)
		} else {
			fmt.Printf("line %d\n", i)
		}
		fmt.Fprintf(os.Stderr, "error %d\n", i)
	}
}

// TestGenerations: 50 hand-overs between processes, while 20 programs write.
func TestGenerations(t *testing.T) {
	t.Parallel()
	scenes(t, func(t *testing.T, s *scene) {
		rounds, count := 50, 20
		if testing.Short() {
			rounds, count = 10, 5
		}
		o := generationOrder{Dir: s.dir, Log: filepath.Join(t.TempDir(), "log"), Keeper: s.keeper, Part: "count"}
		for i := range count {
			o.Names = append(o.Names, itoa(i+100))
		}
		g := o.start(t)
		g.order("run")
		first := map[string]command.Status{}
		until(t, "all run", func() bool {
			first = g.status()
			return !slices.ContainsFunc(o.Names, func(name string) bool { return first[name].State != command.Running })
		})
		var took []time.Duration
		for range rounds {
			next := o.start(t)
			text, _, _ := strings.Cut(g.end("leave"), " ")
			d, err := time.ParseDuration(text)
			check(t, err)
			took = append(took, d)
			g = next
			g.order("run")
		}
		slices.Sort(took)
		t.Logf("leaving %d programs took %v, at most %v", count, took[len(took)/2], took[len(took)-1])
		until(t, "all are adopted", func() bool {
			now := g.status()
			return !slices.ContainsFunc(o.Names, func(name string) bool { return now[name].State != command.Running })
		})
		for name, st := range g.status() {
			if st.PID != first[name].PID || st.Restarts != 0 || len(st.Output) != 10 {
				t.Errorf("%+v, at first %+v", st, first[name])
			}
		}
		g.end("stop")
		checkCount(t, o)
		s.wantFiles()
	})
}

// checkCount looks for what is lost, cut, doubled or out of order.
func checkCount(t *testing.T, o generationOrder) {
	t.Helper()
	log := &logbook{}
	text, err := os.ReadFile(o.Log)
	check(t, err)
	for line := range strings.Lines(string(text)) {
		_, err := log.Write([]byte(line))
		check(t, err)
	}
	for _, name := range o.Names {
		out, errs := log.lines(name, "stdout"), log.lines(name, "stderr")
		for i := range errs {
			if errs[i] != "error "+itoa(i+1) || out[i] != "line "+itoa(i+1) {
				t.Fatalf("%s: line %d is %q, and %q", name, i+1, out[i], errs[i])
			}
		}
		if n := len(errs); n == 0 || len(out) != n+1 || out[n] != "end "+itoa(n+1) {
			t.Errorf("%s: %d lines, and %d, to %q", name, len(out), n, out[len(out)-1])
		}
		ends := log.find("command ended", name)
		if len(ends) != 1 || ends[0]["exit"] != "exit status "+name {
			t.Errorf("%s: ended %v", name, ends)
		}
	}
}

// TestAnyUser supervises, too: over an upgrade, and when it was killed.
func TestAnyUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can be another user")
	}
	scenes(t, func(t *testing.T, s *scene) {
		dir := everybodys(t)
		o := generationOrder{
			Dir: filepath.Join(dir, "run"), Log: filepath.Join(dir, "run", "log"), Keeper: s.keeper, Part: "count", Names: []string{"101", "102"},
			binary: filepath.Join(dir, "program"), user: 54398, // no user of the system
		}
		text, err := os.ReadFile(program())
		check(t, err)
		check(t, harness.WriteProgram(o.binary, text, 0o755))
		check(t, os.Mkdir(o.Dir, 0o700))
		check(t, os.Chown(o.Dir, int(o.user), int(o.user)))
		before := killed(t, o)
		g := o.start(t)
		g.order("run")
		next := o.start(t)
		until(t, "they are adopted", func() bool { return g.status()["102"].State == command.Running })
		g.end("leave")
		next.order("run")
		until(t, "they are adopted again", func() bool { return next.status()["102"].State == command.Running })
		for name, st := range next.status() {
			if st.PID != before[name] {
				t.Errorf("%s: pid %d became %+v", name, before[name], st)
			}
		}
		next.end("stop")
	})
}

// TestDoneStaysDone, also if the hand-over comes while what it left behind ends.
func TestDoneStaysDone(t *testing.T) {
	t.Parallel()
	scenes(t, func(t *testing.T, s *scene) {
		spec := shell("x", "(trap '' TERM; echo there; while :; do sleep 0.01; done) & read x <"+s.dir+"/go")
		check(t, mkfifo(filepath.Join(s.dir, "go")))
		spec.Restart, spec.StopTimeout = command.Never, 300*time.Millisecond
		g := s.guard(spec)
		until(t, "both are there", func() bool { return len(s.log.lines("x", "stdout")) == 1 })
		check(t, os.WriteFile(filepath.Join(s.dir, "go"), []byte("\n"), 0))
		g.await("x", command.Stopping)
		next := s.guardLater(spec)
		g.leave()
		g = next()
		if st := g.await("x", command.Done); st.LastExit != "exit status 0" {
			t.Errorf("%+v", st)
		}
		if n := len(s.log.find("command started", "x")); n != 1 {
			t.Errorf("started %d times", n)
		}
	})
}

// TestLeft: who registers nothing learns that there is something to stop.
func TestLeft(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	o := command.Options{Dir: s.dir, Name: "svc"}
	g := s.guard(shell("x", "exec sleep 1000"))
	pid := g.await("x", command.Running).PID
	if left := command.Left(o); len(left) != 1 || left[0].Name != "x" || left[0].PID != pid {
		t.Errorf("what is there is not seen: %+v", left)
	}
	if left := command.Left(command.Options{Dir: s.dir, Name: "other"}); len(left) != 0 {
		t.Errorf("of another service: %+v", left)
	}
	next := s.guardLater()
	g.leave()
	g = next()
	until(t, "it is stopped", func() bool { return len(command.Left(o)) == 0 })
	if isAlive(pid) {
		t.Error("it lives")
	}
	check(t, g.stop())
}

// playUnique fails if there is a second copy of it, or one of it is left.
func playUnique() error {
	path := filepath.Join(os.Getenv("UNIQUE_DIR"), os.Getenv("PROGRAM_NAME"))
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		os.WriteFile(path+".twice", nil, 0o600)
		return err
	}
	fmt.Println("unique")
	<-time.After(time.Duration(rand.N(40)) * time.Millisecond) // a life
	if rand.N(2) == 0 {
		os.Exit(1)
	}
	select {}
}

// TestKilled: a supervisor is killed at any moment, and its programs are found again.
// Never is there a second copy of one.
func TestKilled(t *testing.T) {
	t.Parallel()
	scenes(t, func(t *testing.T, s *scene) {
		rounds := 60
		if testing.Short() {
			rounds = 15
		}
		lives := t.TempDir()
		o := generationOrder{
			Dir: s.dir, Log: filepath.Join(t.TempDir(), "log"), Keeper: s.keeper, Part: "unique",
			Names: []string{"a", "b", "c"}, Env: []string{"UNIQUE_DIR=" + lives},
		}
		for i := range rounds {
			g := o.start(t)
			g.order("run")
			time.Sleep(time.Duration(rand.N(60000)) * time.Microsecond) // any moment
			if i%5 == 4 {                                               // one of a hand-over
				next := o.start(t)
				g.order("leave")
				time.Sleep(time.Duration(rand.N(2000)) * time.Microsecond)
				g.kill()
				g = next
				g.order("run")
				time.Sleep(time.Duration(rand.N(20000)) * time.Microsecond)
			}
			g.kill()
		}
		g := o.start(t)
		g.order("run")
		until(t, "all run", func() bool {
			now := g.status()
			return !slices.ContainsFunc(o.Names, func(name string) bool { return now[name].State != command.Running })
		})
		g.end("stop")
		twice, err := filepath.Glob(filepath.Join(lives, "*.twice"))
		check(t, err)
		if len(twice) > 0 {
			t.Errorf("there were two of %q", twice)
		}
		for _, name := range o.Names {
			f, err := os.Open(filepath.Join(lives, name))
			if errors.Is(err, fs.ErrNotExist) {
				continue // it was told to end before it had come that far, each time
			}
			check(t, err)
			if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
				t.Errorf("one of %s is left: %v", name, err)
			}
			f.Close()
		}
		if left, err := filepath.Glob(filepath.Join(s.dir, "*.command.*")); err != nil || len(left) > 0 {
			t.Errorf("left in the run directory: %q, %v", left, err)
		}
	})
}

// kill is for tests that then change what is on disk, as if the moment had been
// another.
func killed(t *testing.T, o generationOrder) (pids map[string]int) {
	t.Helper()
	g := o.start(t)
	g.order("run")
	pids = map[string]int{}
	until(t, "all run", func() bool {
		for name, st := range g.status() {
			pids[name] = st.PID
			if st.State != command.Running || len(st.Output) == 0 {
				return false
			}
		}
		return true
	})
	g.kill()
	return pids
}

// TestKilledBeforeThePidWasWritten: the program is found by its output, or its keeper.
func TestKilledBeforeThePidWasWritten(t *testing.T) {
	t.Parallel()
	scenes(t, func(t *testing.T, s *scene) {
		o := generationOrder{Dir: s.dir, Log: filepath.Join(t.TempDir(), "log"), Keeper: s.keeper, Part: "count", Names: []string{"101"}}
		pid := killed(t, o)["101"]
		path := filepath.Join(s.dir, "svc.command.101.json")
		text, err := os.ReadFile(path)
		check(t, err)
		var r map[string]any
		check(t, json.Unmarshal(text, &r))
		delete(r, "pid")
		delete(r, "begin")
		r["state"] = command.Starting
		text, err = json.Marshal(r)
		check(t, err)
		check(t, os.WriteFile(path, text, 0o600))
		g := o.start(t)
		g.order("run")
		var st command.Status
		until(t, "it is adopted", func() bool { st = g.status()["101"]; return st.State == command.Running })
		if st.PID != pid {
			t.Errorf("pid %d became %d", pid, st.PID)
		}
		g.end("stop")
		if isAlive(pid) {
			t.Error("it lives")
		}
	})
}

// TestRecordLost: what has the FIFOs of a program is stopped, and started anew.
func TestRecordLost(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(path string) error{
		"deleted": os.Remove,
		"garbage": func(path string) error { return os.WriteFile(path, []byte("garbage"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scenes(t, func(t *testing.T, s *scene) {
				o := generationOrder{Dir: s.dir, Log: filepath.Join(t.TempDir(), "log"), Keeper: s.keeper, Part: "count", Names: []string{"101"}}
				pid := killed(t, o)["101"]
				check(t, damage(filepath.Join(s.dir, "svc.command.101.json")))
				g := o.start(t)
				g.order("run")
				until(t, "it runs anew", func() bool { st := g.status()["101"]; return st.State == command.Running && st.PID != pid })
				if isAlive(pid) {
					t.Error("the old one lives")
				}
				g.end("stop")
			})
		})
	}
}

// TestFIFOsDeleted, as by a cleaner of temporary files: the output is found where the
// program has it.
func TestFIFOsDeleted(t *testing.T) {
	t.Parallel()
	scenes(t, func(t *testing.T, s *scene) {
		o := generationOrder{Dir: s.dir, Log: filepath.Join(t.TempDir(), "log"), Keeper: s.keeper, Part: "count", Names: []string{"101"}}
		pid := killed(t, o)["101"]
		fifos, err := filepath.Glob(filepath.Join(s.dir, "*.std*"))
		check(t, err)
		if len(fifos) != 2 {
			t.Fatalf("FIFOs %q", fifos)
		}
		for _, path := range fifos {
			check(t, os.Remove(path))
		}
		before, err := os.Stat(o.Log)
		check(t, err)
		g := o.start(t)
		g.order("run")
		until(t, "its output comes", func() bool { now, _ := os.Stat(o.Log); return now.Size() > before.Size()+4096 })
		if st := g.status()["101"]; st.PID != pid {
			t.Errorf("%+v", st)
		}
		g.end("stop")
	})
}

// TestReportDeleted: a keeper is known by its program, and ends with that.
func TestReportDeleted(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	o := generationOrder{Dir: s.dir, Log: filepath.Join(t.TempDir(), "log"), Keeper: true, Part: "count", Names: []string{"101"}}
	pid := killed(t, o)["101"]
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	check(t, err)
	_, rest, _ := strings.Cut(string(text), ") ")
	keeper, err := strconv.Atoi(strings.Fields(rest)[1])
	check(t, err)
	check(t, os.Remove(filepath.Join(s.dir, "svc.command.101.keeper")))
	g := o.start(t)
	g.order("run")
	until(t, "it is adopted", func() bool { return g.status()["101"].PID == pid })
	g.end("stop")
	until(t, "the keeper has ended", func() bool { return !isAlive(keeper) })
}

// TestReboot: the record of another boot says nothing of a pid.
func TestReboot(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	stranger := exec.Command("sleep", "1000")
	check(t, stranger.Start())
	defer stranger.Wait()
	defer stranger.Process.Kill()
	for name, boot := range map[string]string{"x": "another", "y": bootOf(t)} {
		text := fmt.Sprintf(`{"name": %q, "state": "running", "boot": %q, "pid": %d, "begin": 1}`, name, boot, stranger.Process.Pid)
		check(t, os.WriteFile(filepath.Join(s.dir, "svc.command."+name+".json"), []byte(text), 0o600))
	}
	x, y := shell("x", "exec sleep 1000"), shell("y", "exec sleep 1000")
	g := s.guard(x, y)
	for _, name := range []string{"x", "y"} {
		until(t, name+" is started", func() bool {
			st := g.status(name)
			return st.State == command.Running && st.PID != stranger.Process.Pid
		})
	}
	check(t, g.stop())
	if !isAlive(stranger.Process.Pid) {
		t.Error("a stranger was killed")
	}
}

func bootOf(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	check(t, err)
	return strings.TrimSpace(string(text))
}

// TestKilledAndLeftBehind: the leader has ended while nobody watched, and left a
// process behind, which is found by the output.
func TestKilledAndLeftBehind(t *testing.T) {
	t.Parallel()
	scenes(t, func(t *testing.T, s *scene) {
		o := generationOrder{Dir: s.dir, Log: filepath.Join(t.TempDir(), "log"), Keeper: s.keeper, Part: "parent", Names: []string{"101"}}
		pid := killed(t, o)["101"]
		check(t, syscall.Kill(pid, syscall.SIGKILL))
		until(t, "it has ended", func() bool { return !isAlive(pid) })
		left := members(pid)
		if len(left) != 2 {
			t.Fatalf("left %d", left)
		}
		g := o.start(t)
		g.order("run")
		until(t, "it runs anew", func() bool { st := g.status()["101"]; return st.State == command.Running && st.PID != pid })
		if now := members(pid); len(now) > 0 {
			t.Errorf("what was left behind lives: %d", now)
		}
		log, err := os.ReadFile(o.Log)
		check(t, err)
		if strings.Contains(string(log), `"running":true`) {
			t.Error("it is said to have been adopted alive")
		}
		st := g.status()["101"]
		// Without a keeper it is known for as long as nobody has reaped the program.
		if reaped := !s.keeper && st.LastExit == "unknown"; st.LastExit != "signal: killed" && !reaped {
			t.Errorf("%+v", st)
		}
		g.end("stop")
	})
}

// playParent has a child.
func playParent() error {
	if err := exec.Command("sleep", "1000").Start(); err != nil {
		return err
	}
	cmd := exec.Command("sleep", "1000")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	fmt.Println("up")
	select {}
}

// TestLeaks: nothing is left of many generations in one process.
func TestLeaks(t *testing.T) {
	t.Parallel()
	scenes(t, func(t *testing.T, s *scene) {
		cmd := exec.Command(program())
		cmd.Env = append(os.Environ(), "COMMAND_HELPER=leaks", "LEAKS_DIR="+s.dir, "LEAKS_KEEPER="+strconv.FormatBool(s.keeper), "GORACE=atexit_sleep_ms=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
}

func playLeaks() error {
	count := func() (int, int) {
		fds, _ := os.ReadDir("/proc/self/fd")
		return len(fds), runtime.NumGoroutine()
	}
	generation := func(keep bool, more ...command.Spec) error {
		once, crash, long := shell("once", "exit 0"), shell("crash", "exit 1"), shell("long", "exec sleep 1000")
		once.Restart, crash.Failures, long.ReadyNotify, long.ReadyTimeout = command.Never, 2, true, time.Hour
		missing := shell("missing", "")
		missing.Cmd = func(context.Context) *exec.Cmd { return exec.Command("/no/such") }
		missing.ReadyNotify, missing.Failures = true, 2
		specs := append([]command.Spec{once, crash, missing, long}, more...)
		s := command.New(command.Options{
			Dir: os.Getenv("LEAKS_DIR"), Name: "svc", Keeper: os.Getenv("LEAKS_KEEPER") == "true", Log: slog.New(slog.DiscardHandler),
		}, specs)
		take, end := context.WithCancel(context.Background())
		defer end()
		result := make(chan error, 1)
		go func() { result <- s.Run(take, context.Background(), func() bool { return keep }) }()
		for limit := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			st := s.Status()
			if st[0].State == command.Done && st[1].State == command.Failed && st[2].State == command.Failed && st[3].PID != 0 {
				break
			}
			if time.Now().After(limit) {
				return fmt.Errorf("in vain: %+v", st)
			}
		}
		end()
		return <-result
	}
	if err := generation(false); err != nil {
		return err
	}
	fds, goroutines := count()
	for i := range 20 {
		if err := generation(i%4 != 3); err != nil {
			return err
		}
	}
	for limit := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		f, g := count()
		if f <= fds && g <= goroutines && len(children()) == 0 {
			break
		}
		if time.Now().After(limit) {
			return fmt.Errorf("%d descriptors, %d before; %d goroutines, %d before; children %v", f, fds, g, goroutines, children())
		}
	}
	entries, err := os.ReadDir(os.Getenv("LEAKS_DIR"))
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("files are left: %v", entries)
	}
	return err
}
