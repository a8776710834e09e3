package handoff

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/gracerun/internal/handoff/early"
)

// These tests replace generations: real processes, which TestMain plays, and which
// do step by step what the test says. The test process is a supervisor: it adopts
// the generations, where a process stands between them.

// A report is what a generation says at each of its steps. Then it waits for an
// order.
type report struct {
	Step        string
	Number, PID int
	Orphan      bool
	Environment []string // the variables of the hand-over that it can see

	// Of an upgrade.
	Error     string
	Successor int
	Adopter   int // the successor's parent when Upgrade returned
	Took      time.Duration
}

// generation plays one.
func generation() error {
	conn, err := net.Dial("unix", os.Getenv("HANDOFF_STAGE"))
	if err != nil {
		return err
	}
	defer conn.Close()
	in, out := json.NewDecoder(conn), json.NewEncoder(conn)
	// Now and not in an upgrade package os has a child of its own for a moment, to see
	// what the kernel can do.
	if p, err := os.FindProcess(os.Getpid()); err == nil {
		p.Release()
	}
	self, err := Claim("test")
	if err != nil {
		return err
	}
	defer self.Close()
	say := func(r report) (order string, err error) {
		r.Number, r.PID = self.Number(), os.Getpid()
		for _, name := range []string{early.Sentinel, early.Between} {
			if _, ok := os.LookupEnv(name); ok {
				r.Environment = append(r.Environment, name)
			}
		}
		if err := out.Encode(r); err != nil {
			return "", err
		}
		return order, in.Decode(&order)
	}
	r := report{Step: "idle"}
	if self.Legacy() != nil {
		if r.Orphan, err = takeOver(self, say); err != nil {
			return err
		}
	}
	for {
		order, err := say(r)
		if err != nil || order == "exit" {
			return err
		}
		if r = obey(self, order); r.Step == "" {
			return errors.New("what is " + order)
		}
	}
}

// takeOver is the life of a generation until the commit.
func takeOver(self *Self, say func(report) (string, error)) (orphan bool, err error) {
	self.Stage(StageSetup)
	order, err := say(report{Step: "setup"})
	if err != nil {
		return false, err
	}
	if order == "listen" {
		return false, fmt.Errorf("told: %+v", <-self.Events())
	}
	if err := die(order); err != nil {
		self.Failed(StageSetup, err)
		return false, err
	}
	self.Serving("v1")
	ev := <-self.Events()
	verdict, ok := ev.(Go)
	if !ok {
		return false, fmt.Errorf("told: %+v", ev)
	}
	if order, err = say(report{Step: "told"}); err != nil {
		return false, err
	}
	if err := die(order); err != nil {
		return false, err
	}
	self.Commit(func() {})
	return verdict.Orphan, nil
}

// die does so, if that is the order.
func die(order string) error {
	how, what, _ := strings.Cut(order, " ")
	switch how {
	case "error":
		return errors.New(what)
	case "panic":
		panic(what)
	case "exit":
		status, _ := strconv.Atoi(what)
		os.Exit(status)
	case "signal":
		unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
		var action [8]uint64 // a struct sigaction, of SIG_DFL
		sig := unix.SignalNum(what)
		const maskSize = 8
		syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action)), 0, maskSize, 0, 0)
		unix.Kill(os.Getpid(), sig)
		select {}
	}
	return nil
}

// obey does what the owner of the service is told to.
func obey(self *Self, order string) report {
	what, limit, _ := strings.Cut(order, " ")
	limits, e := usual, Estate{App: "test", Version: "v1", Between: true, Manager: json.RawMessage(`{"manager":1}`)}
	limits.Probation = time.Millisecond
	if limit != "" {
		limits.Ready, _ = time.ParseDuration(limit)
	}
	switch what {
	case "main":
		self.Successor().Main()
		return report{Step: what}
	case "manager":
		return report{Step: string(self.Legacy().Manager)}
	case "listen":
		for ev := range self.Events() {
			if m, ok := ev.(Main); ok {
				return report{Step: fmt.Sprintf("%d follows %d", self.Number(), m.Generation)}
			}
		}
	case "direct":
		e.Between = false
	case "upgrade":
	default:
		return report{}
	}
	began := time.Now()
	err := self.Upgrade(context.Background(), limits, func() Estate { return e }, nothing)
	r := report{Step: "upgraded", Took: time.Since(began)}
	if err != nil {
		r.Error = err.Error()
		return r
	}
	r.Successor = self.Successor().PID
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.Successor))
	if _, fields, ok := strings.Cut(string(text), ") "); ok {
		r.Adopter, _ = strconv.Atoi(strings.Fields(fields)[statParent])
	}
	return r
}

// A stage is where generations play.
type stage struct {
	t     testing.TB
	id    string
	ln    *net.UnixListener
	first *exec.Cmd
	known []int // the generations so far
}

// An actor is a generation as the test sees it.
type actor struct {
	s    *stage
	conn net.Conn
	in   *json.Decoder
	last report
}

// raise starts generation 1.
func raise(t testing.TB) (*stage, *actor) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stage")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	check(t, err)
	s := &stage{t: t, id: "HANDOFF_ID=" + path, ln: ln}
	t.Cleanup(func() { ln.Close() })
	s.first = helper("generation", "HANDOFF_STAGE="+path, s.id)
	log, err := os.Create(path + ".log")
	check(t, err)
	defer log.Close()
	s.first.Stderr = log
	check(t, s.first.Start())
	t.Cleanup(func() {
		for _, pid := range s.processes() { // there are some only after a failure
			unix.Kill(pid, unix.SIGKILL)
		}
		s.first.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("they say: %s", text)
		}
	})
	return s, s.enter("idle")
}

// enter waits for the next generation.
func (s *stage) enter(step string) *actor {
	s.t.Helper()
	check(s.t, s.ln.SetDeadline(time.Now().Add(20*time.Second)))
	conn, err := s.ln.Accept()
	check(s.t, err)
	s.t.Cleanup(func() { conn.Close() })
	a := &actor{s: s, conn: conn, in: json.NewDecoder(conn)}
	a.at(step)
	s.known = append(s.known, a.last.PID)
	return a
}

// at waits for the actor's next report.
func (a *actor) at(step string) report {
	a.s.t.Helper()
	check(a.s.t, a.conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	a.last = report{}
	check(a.s.t, a.in.Decode(&a.last))
	if a.last.Step != step || a.last.Environment != nil {
		a.s.t.Fatalf("it says %+v, want %q", a.last, step)
	}
	return a.last
}

func (a *actor) order(order string) {
	a.s.t.Helper()
	check(a.s.t, json.NewEncoder(a.conn).Encode(order))
}

// refused waits for the end of an upgrade that fails, and is as if it had not been.
func (a *actor) refused(words ...string) {
	a.s.t.Helper()
	r := a.at("upgraded")
	for _, want := range words {
		if !strings.Contains(r.Error, want) {
			a.s.t.Errorf("refused with %q, want %q", r.Error, want)
		}
	}
	if r.Error == "" {
		a.s.t.Error("the upgrade was not refused")
	}
	a.alone()
}

// alone asserts that of all generations this one is alive, and nothing else.
func (a *actor) alone() {
	a.s.t.Helper()
	if pids := a.s.processes(); !slices.Equal(pids, []int{a.last.PID}) {
		a.s.t.Errorf("processes %d are there, want %d alone", pids, a.last.PID)
	}
	if left := children(a.s.t, a.last.PID); len(left) > 0 {
		a.s.t.Errorf("its children %d are left", left)
	}
}

// replaced waits for the end of an upgrade that succeeds: the successor has been
// adopted by this process, and the process between is no more.
func (a *actor) replaced(next *actor) {
	a.s.t.Helper()
	r := a.at("upgraded")
	if r.Error != "" || r.Successor != next.last.PID || r.Adopter != os.Getpid() {
		a.s.t.Errorf("replaced by %d, the child of %d: %q; want %d, adopted by %d", r.Successor, r.Adopter, r.Error, next.last.PID, os.Getpid())
	}
	for _, pid := range a.s.processes() {
		if !slices.Contains(a.s.known, pid) {
			a.s.t.Errorf("process %d is no generation", pid)
		}
	}
}

// exit has it leave.
func (a *actor) exit() {
	a.s.t.Helper()
	pid := a.last.PID
	a.order("exit")
	a.reap(pid, 0)
}

// reap waits for a process that this one has adopted, or has started.
func (a *actor) reap(pid int, want syscall.WaitStatus) {
	a.s.t.Helper()
	if pid == a.s.first.Process.Pid {
		a.s.first.Wait()
		if status := a.s.first.ProcessState.Sys().(syscall.WaitStatus); status != want {
			a.s.t.Errorf("generation 1 ended with %#x, want %#x", status, want)
		}
		return
	}
	if status := reap(a.s.t, pid); status != want {
		a.s.t.Errorf("process %d ended with %#x, want %#x", pid, status, want)
	}
}

// upgrade replaces a by a generation that does everything right.
func (a *actor) upgrade() (next *actor) {
	a.s.t.Helper()
	a.order("upgrade")
	next = a.s.enter("setup")
	next.order("serve")
	next.at("told")
	next.order("commit")
	next.at("idle")
	a.replaced(next)
	return next
}

// processes are those of this stage that are alive.
func (s *stage) processes() (pids []int) {
	procs, err := os.ReadDir("/proc")
	check(s.t, err)
	for _, e := range procs {
		env, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if pid, err := strconv.Atoi(e.Name()); err == nil && slices.Contains(strings.Split(string(env), "\x00"), s.id) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// children are those of a process, zombies too.
func children(t testing.TB, pid int) (pids []int) {
	t.Helper()
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	check(t, err)
	for _, e := range threads {
		list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, e.Name()))
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) { // the thread is gone
			continue
		}
		check(t, err)
		for f := range strings.FieldsSeq(string(list)) {
			child, err := strconv.Atoi(f)
			check(t, err)
			pids = append(pids, child)
		}
	}
	return pids
}

// kill signals a process, and waits until it is gone where that is what it does.
func (s *stage) kill(pid int, sig syscall.Signal) {
	s.t.Helper()
	p, err := openProcess(pid)
	check(s.t, err)
	defer p.close()
	check(s.t, unix.Kill(pid, sig))
	switch sig {
	case unix.SIGKILL:
		<-p.exited()
	case unix.SIGSTOP: // until one of its threads has had a turn, all others go on
		for state := ""; state != "T"; state = stat(s.t, pid)[0] {
		}
	}
}

// TestAdopted: each of many generations in a row has the supervisor for its parent
// when its predecessor says that it was replaced, and no descriptor more than the
// one before.
func TestAdopted(t *testing.T) {
	t.Parallel()
	const upgrades = 20
	_, a := raise(t)
	files := 0
	for range upgrades {
		next := a.upgrade()
		a.exit()
		a = next
		a.alone()
		if files == 0 {
			files = len(openFilesOf(t, a.last.PID)) + 2 // its predecessor's may be still open
		}
		if now := openFilesOf(t, a.last.PID); len(now) > files {
			t.Errorf("generation %d has %v", a.last.Number, now)
		}
	}
	if a.last.Number != upgrades+1 {
		t.Errorf("it is generation %d", a.last.Number)
	}
	a.exit()
}

// TestNotAdopted: who does not ask for a process between has none.
func TestNotAdopted(t *testing.T) {
	t.Parallel()
	s, a := raise(t)
	a.order("direct")
	next := s.enter("setup")
	next.order("serve")
	next.at("told")
	next.order("commit")
	next.at("idle")
	if r := a.at("upgraded"); r.Error != "" || r.Adopter != r.PID {
		t.Errorf("the parent is %d: %+v", r.Adopter, r)
	}
	a.exit()
	next.exit()
}

// TestHowItEnded: the words of a refusal are those of a child without a process
// between.
func TestHowItEnded(t *testing.T) {
	t.Parallel()
	s, a := raise(t)
	want := map[string]string{
		"error no database": "setup: no database",
		"panic no database": "setup: the child ended with exit status 2: panic: no database",
		"exit 0":            "setup: the child ended with exit status 0",
		"exit 7":            "setup: the child ended with exit status 7",
		"signal SIGKILL":    "setup: the child ended with signal: killed",
		"signal SIGTERM":    "setup: the child ended with signal: terminated",
		"signal SIGHUP":     "setup: the child ended with signal: hangup",
		"signal SIGABRT":    "setup: the child ended with signal: aborted",
		"signal SIGSEGV":    "setup: the child ended with signal: segmentation fault",
	}
	files := 0
	for i, order := range slices.Sorted(maps.Keys(want)) {
		a.order("upgrade")
		child := s.enter("setup")
		child.order(order)
		a.refused(want[order])
		if i == 0 {
			files = len(openFilesOf(t, a.last.PID))
		}
		now := openFilesOf(t, a.last.PID) // some are closed after the report
		for limit := time.Now().Add(10 * time.Second); len(now) > files && time.Now().Before(limit); time.Sleep(time.Millisecond) {
			now = openFilesOf(t, a.last.PID)
		}
		if len(now) > files {
			t.Errorf("%s: %d descriptors, want %d: %v", order, len(now), files, now)
		}
	}
	a.order("upgrade")
	child := s.enter("setup")
	child.order("serve")
	child.at("told")
	child.order("exit 7")
	a.refused("commit: the child ended with exit status 7")
	next := a.upgrade()
	a.exit()
	next.exit()
}

// TestSignalsBetween: what a terminal or a supervisor sends to the whole group does
// not end the process between, and the generation is not born deaf to it.
func TestSignalsBetween(t *testing.T) {
	t.Parallel()
	s, a := raise(t)
	a.order("upgrade")
	next := s.enter("setup")
	between := parentOf(t, next.last.PID)
	if parent := parentOf(t, between); parent != a.last.PID {
		t.Fatalf("the process between is a child of %d, want %d", parent, a.last.PID)
	}
	signals := []syscall.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT}
	ignored, err := strconv.ParseUint(status(t, next.last.PID, "SigIgn"), 16, 64)
	check(t, err)
	for _, sig := range signals {
		s.kill(between, sig)
		if ignored&(1<<(sig-1)) != 0 {
			t.Errorf("the generation ignores %v", sig)
		}
	}
	next.order("serve")
	next.at("told")
	if parent := parentOf(t, next.last.PID); parent != between {
		t.Errorf("its parent is %d, want %d", parent, between)
	}
	next.order("commit")
	next.at("idle")
	a.replaced(next)
	a.exit()
	next.exit()
}

// TestPredecessorDies: nobody wants to know any more how the generation ends. So the
// process between leaves, and the generation is adopted, takes over, and can be
// replaced.
func TestPredecessorDies(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"setup", "told", "idle"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			s, a := raise(t)
			a.order("upgrade")
			next := s.enter("setup")
			between := parentOf(t, next.last.PID)
			if step != "setup" {
				next.order("serve")
				next.at("told")
			}
			if step == "idle" {
				s.kill(a.last.PID, unix.SIGSTOP)
				next.order("commit")
				next.at("idle")
			}
			s.kill(a.last.PID, unix.SIGKILL)
			a.reap(a.last.PID, syscall.WaitStatus(unix.SIGKILL))
			a.reap(between, 0)
			switch step {
			case "setup":
				next.order("serve")
				next.at("told")
				fallthrough
			case "told":
				next.order("commit")
				next.at("idle")
				if next.last.Orphan != (step == "setup") {
					t.Errorf("it says %+v", next.last)
				}
			}
			next.alone()
			another := next.upgrade()
			next.exit()
			another.exit()
		})
	}
}

// TestParted: the process between is killed. A generation that was not told to take
// over gives up, and leaves; one that was takes over.
func TestParted(t *testing.T) {
	t.Parallel()
	t.Run("not told", func(t *testing.T) {
		t.Parallel()
		s, a := raise(t)
		a.order("upgrade")
		child := s.enter("setup")
		pid := child.last.PID
		s.kill(parentOf(t, pid), unix.SIGKILL)
		child.order("listen")
		if status := reap(t, pid); status.ExitStatus() != 1 {
			t.Errorf("it ended with %#x", status)
		}
		a.refused(errParted.Error()) // at what it knows by then
		next := a.upgrade()
		a.exit()
		next.exit()
	})
	t.Run("not told, and hangs", func(t *testing.T) {
		t.Parallel()
		s, a := raise(t)
		a.order("upgrade")
		child := s.enter("setup")
		s.kill(parentOf(t, child.last.PID), unix.SIGKILL)
		reap(t, child.last.PID)
		a.refused(errParted.Error()) // at what it knows by then
		a.exit()
	})
	t.Run("told", func(t *testing.T) {
		t.Parallel()
		s, a := raise(t)
		a.order("upgrade")
		next := s.enter("setup")
		between := parentOf(t, next.last.PID)
		next.order("serve")
		next.at("told")
		s.kill(between, unix.SIGKILL)
		for len(children(t, a.last.PID)) > 0 { // until its exit is known
			time.Sleep(time.Millisecond)
		}
		next.order("commit")
		next.at("idle")
		a.replaced(next)
		another := next.upgrade()
		a.exit()
		next.exit()
		another.exit()
	})
	t.Run("told, and dies", func(t *testing.T) {
		t.Parallel()
		s, a := raise(t)
		a.order("upgrade")
		child := s.enter("setup")
		pid := child.last.PID
		child.order("serve")
		child.at("told")
		s.kill(parentOf(t, pid), unix.SIGKILL)
		child.order("exit 7")
		if status := reap(t, pid); status.ExitStatus() != 7 {
			t.Errorf("it ended with %#x", status)
		}
		a.refused("commit: the child ended with signal: killed")
		next := a.upgrade()
		a.exit()
		next.exit()
	})
}

// TestStuckBetween: a process between that does nothing any more holds nobody up.
func TestStuckBetween(t *testing.T) {
	t.Parallel()
	s, a := raise(t)
	a.order("upgrade")
	next := s.enter("setup")
	s.kill(parentOf(t, next.last.PID), unix.SIGSTOP)
	next.order("serve")
	next.at("told")
	next.order("commit")
	next.at("idle")
	a.replaced(next)
	a.exit()

	next.order("upgrade 2s")
	child := s.enter("setup")
	pid := child.last.PID
	s.kill(parentOf(t, pid), unix.SIGSTOP)
	next.refused("setup: not serving after 2s")
	reap(t, pid)
	another := next.upgrade()
	next.exit()
	another.exit()
}

// TestKilledEarly kills one of the three at some moment before the
// child has spoken or shortly after. Whatever it hits, one generation serves, with
// the supervisor for its parent, and can be replaced.
func TestKilledEarly(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"predecessor", "between", "generation"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			const rounds = 12
			s, a := raise(t)
			for round := range rounds {
				a.order("upgrade")
				a = s.strike(a, who, time.Duration(round)*500*time.Microsecond)
			}
			a.alone()
			a.exit()
		})
	}
}

// strike kills who, so long after the process between is there, and returns the
// generation that serves then.
func (s *stage) strike(a *actor, who string, after time.Duration) *actor {
	s.t.Helper()
	between := first(s.t, a.last.PID, early.Sentinel)
	for began := time.Now(); time.Since(began) < after; { // no sleep is that short
	}
	switch who {
	case "predecessor":
		s.kill(a.last.PID, unix.SIGKILL)
		a.reap(a.last.PID, syscall.WaitStatus(unix.SIGKILL))
		next := s.enter("setup")
		a.reap(between, 0)
		next.order("serve")
		next.at("told")
		next.order("commit")
		next.at("idle")
		return next
	case "generation":
		s.kill(first(s.t, between, early.Between), unix.SIGKILL)
		s.closed(func() { a.refused("the child ended with signal: killed") })
	case "between":
		// It is stopped first: then its child, if it has one, is known.
		s.kill(between, unix.SIGSTOP)
		orphans := children(s.t, between)
		s.kill(between, unix.SIGKILL)
		s.closed(func() {
			a.at("upgraded")
			for _, pid := range orphans {
				reap(s.t, pid)
			}
			a.alone()
		})
		if a.last.Error == "" {
			s.t.Error("the upgrade was not refused")
		}
	}
	return a
}

// first waits for a child that has the variable.
func first(t testing.TB, pid int, variable string) int {
	for {
		for _, child := range children(t, pid) {
			env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", child))
			if strings.Contains("\x00"+string(env), "\x00"+variable+"=") {
				return child
			}
		}
	}
}

// closed turns everybody away who enters during f.
func (s *stage) closed(f func()) {
	check(s.t, s.ln.SetDeadline(time.Time{}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := s.ln.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	f()
	s.ln.SetDeadline(time.Unix(1, 0))
	<-done
}

// TestMainProcess: a generation hears that the service manager follows it, or, when
// it was overtaken, that it follows another. What the App knows of the manager comes
// with the hand-over.
func TestMainProcess(t *testing.T) {
	t.Parallel()
	_, a := raise(t)
	b := a.upgrade()
	b.order("manager")
	b.at(`{"manager":1}`)
	a.order("main")
	a.at("main")
	b.order("listen")
	b.at("2 follows 2")
	a.exit()
	c := b.upgrade()
	d := c.upgrade()
	b.order("main")
	b.at("main")
	d.order("listen")
	d.at("4 follows 3")
	b.exit()
	c.exit()
	d.exit()
}

// BenchmarkUpgrade is from the call of Upgrade to its return, with a process between
// and without.
func BenchmarkUpgrade(b *testing.B) {
	for _, order := range []string{"direct", "upgrade"} {
		b.Run(order, func(b *testing.B) {
			s, a := raise(b)
			var took time.Duration
			for b.Loop() {
				a.order(order)
				next := s.enter("setup")
				next.order("serve")
				next.at("told")
				next.order("commit")
				next.at("idle")
				r := a.at("upgraded")
				if r.Error != "" || (r.Adopter == os.Getpid()) != (order == "upgrade") {
					b.Fatalf("%+v", r)
				}
				took += r.Took
				a.exit()
				a = next
			}
			b.ReportMetric(float64(took.Microseconds())/float64(b.N), "us/upgrade")
			a.exit()
		})
	}
}

// TestAdmit: whoever follows the old generation from outside must be able to follow the
// next one.
func TestAdmit(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sleep", "60")
	check(t, cmd.Start())
	defer cmd.Wait()
	defer cmd.Process.Kill()
	child, self := cmd.Process.Pid, os.Getpid()
	dead := exec.Command("true")
	check(t, dead.Run())
	line := &anchorLine{}
	for name, c := range map[string]struct {
		asked  bool
		anchor *anchorLine
		hello  message
		want   error
	}{
		"nobody follows":            {},
		"an older build":            {asked: true, want: errOldBuild},
		"below the process between": {asked: true, hello: message{Parent: child}},
		"below one that ended":      {asked: true, hello: message{Parent: dead.Process.Pid}},
		"our own child":             {asked: true, hello: message{Parent: self}, want: errNotAdopted},
		"somebody else's":           {asked: true, hello: message{Parent: 1}, want: errNotAdopted},
		"without the line":          {asked: true, anchor: line, hello: message{Parent: child}, want: errOldBuild},
		"with the line":             {asked: true, anchor: line, hello: message{Parent: child, Anchor: true}},
	} {
		b := &birth{s: &Self{anchor: c.anchor}, asked: c.asked}
		if err := b.admit(c.hello); err != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if (b.between != nil) != (c.want == nil && c.hello.Parent == child) {
			t.Errorf("%s: the process between is %v", name, b.between)
		}
		if b.between != nil {
			b.between.close()
		}
	}
}
