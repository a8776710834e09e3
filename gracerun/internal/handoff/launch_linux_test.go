package handoff

import (
	"bytes"
	"context"
	"crypto/rand"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/gracerun/internal/handoff/early"
	"github.com/gracerun/grace/listener"
	"github.com/gracerun/grace/test/harness"
)

// These tests start daemons: real ones, which TestMain plays. The test process
// adopts them, as process 1 would.

var executable, _ = os.Executable()

// adoptOrphans makes this process the parent of those that lose theirs.
func adoptOrphans() error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
}

// aDaemon is a launch of one that does what part says, and has a file for its
// output.
func aDaemon(t *testing.T, part string) Launch {
	t.Helper()
	out, err := os.OpenFile(filepath.Join(t.TempDir(), "log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	check(t, err)
	t.Cleanup(func() { out.Close() })
	return Launch{
		Program: executable, Args: []string{executable, "start"},
		Env: append(os.Environ(), "HANDOFF_HELPER=daemon", "HANDOFF_PART="+part, "GORACE=atexit_sleep_ms=0"),
		Dir: "/", Umask: -1, CoreLimit: -1, Output: out, ErrorOutput: out,
	}
}

var anEstate = Estate{App: "test", Version: "v0"}

func nothing(Progress) {}

// start starts the daemon, and ends it with the test.
func start(t *testing.T, l Launch, e Estate) (pid int) {
	t.Helper()
	pid, err := Start(t.Context(), l, usual, e, nothing)
	check(t, err)
	t.Cleanup(func() { end(t, pid, unix.SIGTERM) })
	return pid
}

// end signals a process that this one has adopted, and waits for it.
func end(t *testing.T, pid int, sig syscall.Signal) syscall.WaitStatus {
	t.Helper()
	check(t, unix.Kill(pid, sig))
	return reap(t, pid)
}

func reap(t testing.TB, pid int) (status syscall.WaitStatus) {
	t.Helper()
	for {
		_, err := syscall.Wait4(pid, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		check(t, err)
		return status
	}
}

// said reads what the daemon has written to its log.
func said(t *testing.T, l Launch) string {
	t.Helper()
	text, err := os.ReadFile(l.Output.Name())
	check(t, err)
	return string(text)
}

// says waits until the daemon has written that.
func says(t *testing.T, l Launch, want string) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); !strings.Contains(said(t, l), want); {
		if time.Now().After(limit) {
			t.Fatalf("it says %q, want %q", said(t, l), want)
		}
		time.Sleep(time.Millisecond)
	}
}

// status reads a field of /proc/PID/status.
func status(t *testing.T, pid int, field string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	check(t, err)
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("no %s in the status of %d", field, pid)
	return ""
}

// The fields of /proc/PID/stat after the name: proc_pid_stat(5).
const (
	statParent = 1 + iota
	_
	statSession
	statTerminal
)

func stat(t testing.TB, pid int) []string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	check(t, err)
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
}

// parentOf also is the process between, before the commit.
func parentOf(t testing.TB, pid int) int {
	t.Helper()
	parent, err := strconv.Atoi(stat(t, pid)[statParent])
	check(t, err)
	return parent
}

// TestDaemon is what a daemon is, at the moment in which Start returns.
func TestDaemon(t *testing.T) {
	t.Parallel()
	l := aDaemon(t, "")
	dir := t.TempDir()
	l.Dir, l.Umask, l.NoNewPrivs, l.CoreLimit = dir, 0o27, true, 4096
	l.Env = append(l.Env, early.Launch+"=leaked")
	strays := strays(t)
	pid := start(t, l, anEstate)

	fields := stat(t, pid)
	ours := stat(t, os.Getpid())
	if fields[statParent] != strconv.Itoa(os.Getpid()) {
		t.Errorf("its parent is %s, want %d, who adopts what is left behind", fields[statParent], os.Getpid())
	}
	if s := fields[statSession]; s == ours[statSession] || s == strconv.Itoa(pid) {
		t.Errorf("the session is %s; ours is %s, and the daemon %d must not lead its own", s, ours[statSession], pid)
	}
	if fields[statTerminal] != "0" {
		t.Errorf("its terminal is %s", fields[statTerminal])
	}
	for field, want := range map[string]string{"Umask": "0027", "NoNewPrivs": "1"} {
		if got := status(t, pid, field); got != want {
			t.Errorf("%s is %s, want %s", field, got, want)
		}
	}
	var core unix.Rlimit
	check(t, unix.Prlimit(pid, unix.RLIMIT_CORE, nil, &core))
	if core.Cur != 4096 {
		t.Errorf("core dumps are limited to %d bytes", core.Cur)
	}
	if cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); cwd != dir {
		t.Errorf("it works in %s, want %s", cwd, dir)
	}
	for fd, link := range openFilesOf(t, pid) {
		if slices.Contains(strays, link) {
			t.Errorf("descriptor %d, %s, is not its own", fd, link)
		}
	}
	says(t, l, "generation 1 of 0, launched, environment clean, HUP 0")
}

// strays opens files that every child inherits, as a shell may do.
func strays(t *testing.T) (links []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stray")
	check(t, os.WriteFile(path, nil, 0o600))
	for range 18 {
		fd, err := unix.Open(path, unix.O_RDONLY, 0)
		check(t, err)
		t.Cleanup(func() { unix.Close(fd) })
	}
	return []string{path}
}

// openFilesOf says to what each descriptor leads.
func openFilesOf(t testing.TB, pid int) map[int]string {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	check(t, err)
	links := map[int]string{}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		check(t, err)
		links[fd], _ = os.Readlink(filepath.Join(dir, e.Name()))
	}
	return links
}

// TestSilentDaemon: where a daemon has no file for its output it has the null
// device, from the commit on.
func TestSilentDaemon(t *testing.T) {
	t.Parallel()
	l := aDaemon(t, "")
	output := l.Output
	l.ErrorOutput = nil
	pid := start(t, l, anEstate)
	links := openFilesOf(t, pid)
	if links[0] != os.DevNull || links[1] != output.Name() || links[2] != os.DevNull {
		t.Errorf("its standard files: %v", links)
	}
	info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/2", pid))
	check(t, err)
	if !strings.Contains(string(info), "flags:\t01") || !bytes.Contains(info, []byte("2\n")) {
		t.Errorf("its standard error: %s", info)
	}
	for fd, link := range links {
		if fd > 2 && link == os.DevNull || strings.Contains(link, "memfd:output") {
			t.Errorf("descriptor %d, %s, is of no use to it", fd, link)
		}
	}
}

// TestDaemonWithALog: what a daemon has put in the place of its output stays.
func TestDaemonWithALog(t *testing.T) {
	t.Parallel()
	l := aDaemon(t, "log")
	log := l.Output.Name()
	l.Env = append(l.Env, "HANDOFF_LOG="+log)
	l.Output, l.ErrorOutput = nil, nil
	pid := start(t, l, anEstate)
	if links := openFilesOf(t, pid); links[1] != log || links[2] != os.DevNull {
		t.Errorf("its standard files: %v", links)
	}
}

// TestDaemonOfAnotherUser has the user's groups, too, and cannot become root again.
func TestDaemonOfAnotherUser(t *testing.T) {
	t.Parallel()
	onlyRoot(t)
	l := aDaemon(t, "")
	l.Program = copyOf(t, "/") // the test's own directory is closed to others
	l.Credential = &Credential{UID: 65534, GID: 65533, Groups: []uint32{65531, 65532}}
	pid := start(t, l, anEstate)
	for field, want := range map[string]string{
		"Uid": "65534\t65534\t65534\t65534", "Gid": "65533\t65533\t65533\t65533", "Groups": "65531 65532", "CapEff": "0000000000000000",
	} {
		if got := status(t, pid, field); got != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}
}

func onlyRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may change the user, or the root directory")
	}
}

// copyOf puts this program, and what it needs to be loaded, below root, where
// everybody may use it, and returns its path there. For "/" that is a new
// directory.
func copyOf(t *testing.T, root string) (path string) {
	t.Helper()
	put := func(from, to string) {
		text, err := os.ReadFile(from)
		check(t, err)
		check(t, os.MkdirAll(filepath.Dir(to), 0o755))
		check(t, harness.WriteProgram(to, text, 0o755))
	}
	if root == "/" {
		dir, err := os.MkdirTemp("", "daemon")
		check(t, err)
		t.Cleanup(func() { os.RemoveAll(dir) })
		check(t, os.Chmod(dir, 0o755))
		put(executable, filepath.Join(dir, "svc"))
		return filepath.Join(dir, "svc")
	}
	put(executable, filepath.Join(root, "svc"))
	file, err := elf.Open(executable)
	check(t, err)
	defer file.Close()
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			name := make([]byte, p.Filesz-1)
			_, err := p.ReadAt(name, 0)
			check(t, err)
			put(string(name), filepath.Join(root, string(name)))
		}
	}
	maps, err := os.ReadFile("/proc/self/maps")
	check(t, err)
	for line := range strings.Lines(string(maps)) {
		if f := strings.Fields(line); len(f) == 6 && strings.Contains(f[5], ".so") {
			put(f[5], filepath.Join(root, f[5]))
		}
	}
	return "/svc"
}

// TestDaemonInChroot: there is nothing but the program, no null device either.
func TestDaemonInChroot(t *testing.T) {
	t.Parallel()
	onlyRoot(t)
	l := aDaemon(t, "")
	l.Chroot = t.TempDir()
	l.Program = copyOf(t, l.Chroot)
	l.Args = []string{l.Program}
	check(t, os.Mkdir(filepath.Join(l.Chroot, "work"), 0o755))
	l.Dir = "/work"
	l.ErrorOutput = nil
	pid := start(t, l, anEstate)
	for link, want := range map[string]string{"root": l.Chroot, "cwd": filepath.Join(l.Chroot, "work"), "fd/2": os.DevNull} {
		if got, _ := os.Readlink(fmt.Sprintf("/proc/%d/%s", pid, link)); got != want {
			t.Errorf("%s is %s, want %s", link, got, want)
		}
	}
}

// TestLegacyOfADaemon: it gets what a successor gets, and no predecessor.
func TestLegacyOfADaemon(t *testing.T) {
	t.Parallel()
	const sockets = 1000
	l := aDaemon(t, "")
	e := anEstate
	e.Lock, e.History = open(t, executable), json.RawMessage(`[{"from":1}]`)
	null := open(t, os.DevNull)
	for i := range sockets {
		e.Handles = append(e.Handles, listener.Handle{Name: strconv.Itoa(i)})
		e.Conns = append(e.Conns, null)
	}
	start(t, l, e)
	says(t, l, fmt.Sprintf(`%d sockets, lock %s, history [{"from":1}], older []`, sockets, executable))
}

// TestDaemonIsReplaced: its successor is a daemon, too, and has one predecessor.
func TestDaemonIsReplaced(t *testing.T) {
	t.Parallel()
	l := aDaemon(t, "upgrade")
	pid, err := Start(t.Context(), l, usual, anEstate, nothing)
	check(t, err)
	if status := reap(t, pid); status.ExitStatus() != 0 {
		t.Fatalf("generation 1 ended with %v: %s", status.ExitStatus(), said(t, l))
	}
	var successor int
	text := said(t, l)
	_, pidText, _ := strings.Cut(text, "replaced by ")
	if _, err := fmt.Sscan(pidText, &successor); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	t.Cleanup(func() { end(t, successor, unix.SIGTERM) })
	says(t, l, `generation 2 of 1, not launched, environment clean, HUP 0, 0 sockets, lock -, history {"upgrades":1}, older `)
	if text := said(t, l); strings.Contains(text, "[0") {
		t.Errorf("the launcher is no generation: %s", text)
	}
}

// TestBrokenOutput: what reads the daemon's output may die, and the daemon lives.
func TestBrokenOutput(t *testing.T) {
	t.Parallel()
	l, open := gate(t, "gate, write")
	r, w := pipe(t)
	l.ErrorOutput = w
	pid, err := Start(t.Context(), l, usual, anEstate, func(p Progress) {
		if p.Stage == StageSetup {
			check(t, errors.Join(r.Close(), w.Close()))
			open()
		}
	})
	check(t, err)
	end(t, pid, unix.SIGTERM)
	says(t, l, "write /dev/stderr: broken pipe")
}

// TestDaemonFails: its own words reach who started it, and nothing is left.
func TestDaemonFails(t *testing.T) {
	t.Parallel()
	sh := func(script string) func(*Launch) {
		return func(l *Launch) { l.Program, l.Args = "/bin/sh", []string{"sh", "-c", script} }
	}
	memory := func(l *Launch) { l.Output, l.ErrorOutput = nil, nil }
	in := func(d time.Duration) Limits { return Limits{Ready: d, Drain: time.Second} }
	for name, c := range map[string]struct {
		part   string
		change func(*Launch)
		limits Limits
		stage  string
		words  string
		is     error
	}{
		"its error":       {part: "error", stage: StageSetup, words: "no database"},
		"a fatal error":   {part: "overflow", stage: StageSetup, words: "the daemon ended with exit status 2: fatal error: stack overflow"},
		"a panic":         {part: "panic", stage: StageSetup, words: "the daemon ended with exit status 2: panic: no database"},
		"exits":           {part: "exit", stage: StageInit, words: "the daemon ended with exit status 7; its last lines: cannot go on\nsorry"},
		"exits silently":  {part: "silence", stage: StageInit, words: "the daemon ended with exit status 7"},
		"into memory":     {part: "exit", change: memory, stage: StageInit, words: "the daemon ended with exit status 7; its last lines: cannot go on\nsorry"},
		"ends well":       {part: "leave", stage: StageInit, words: "the daemon ended with exit status 0"},
		"is killed":       {part: "killed", stage: StageInit, words: "the daemon ended with signal: killed"},
		"hangs":           {part: "hang", limits: in(400 * time.Millisecond), stage: StageSetup, words: "not serving after 400ms: the child is still busy with setup"},
		"never begins":    {part: "mute", limits: in(400 * time.Millisecond), stage: StageInit, words: "not serving after 400ms: the child runs, but its App has not come as far as Setup"},
		"another App":     {part: "other", limits: in(400 * time.Millisecond), stage: StageInit, words: `not serving after 400ms: the child runs an App called "other", and none called as this one: App.Name must stay the same`},
		"no program":      {change: func(l *Launch) { l.Program = "/no/program" }, stage: StageStart, words: "fork/exec /no/program: no such file or directory", is: fs.ErrNotExist},
		"no right to it":  {change: func(l *Launch) { l.Program = os.DevNull }, stage: StageStart, words: "fork/exec /dev/null: permission denied", is: fs.ErrPermission},
		"no directory":    {change: func(l *Launch) { l.Dir = "/no/directory" }, stage: StageStart, words: "chdir /no/directory: no such file or directory", is: fs.ErrNotExist},
		"another program": {change: sh("echo usage >&2; exit 3"), stage: StageStart, words: "the program ended with exit status 3 before it was a daemon; its last lines: usage"},
		"one that stays":  {change: sh("sleep 1000; true"), limits: in(200 * time.Millisecond), stage: StageStart, words: "not serving after 200ms: the child never spoke"},
		"one that closes": {change: sh("exec 3>&- 4<&- 5<&- 6<&-; exec sleep 1000"), limits: in(200 * time.Millisecond), stage: StageStart, words: "not serving after 200ms: the child never spoke"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := aDaemon(t, c.part)
			id := "HANDOFF_ID=" + rand.Text()
			l.Env = append(l.Env, id)
			if c.change != nil {
				c.change(&l)
			}
			_, err := Start(t.Context(), l, c.limits, anEstate, nothing)
			refused(t, err, c.stage, c.words)
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("it is not %v", c.is)
			}
			gone(t, id)
		})
	}
}

func refused(t *testing.T, err error, stage, words string) {
	t.Helper()
	r := new(Refusal)
	if !errors.As(err, &r) || r.Stage != stage || r.Err.Error() != words {
		t.Errorf("Start returned %v\nwant %s: %s", err, stage, words)
	}
}

// gone asserts that no process has the variable in its environment.
func gone(t *testing.T, variable string) {
	t.Helper()
	procs, err := os.ReadDir("/proc")
	check(t, err)
	for _, e := range procs {
		env, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if slices.Contains(strings.Split(string(env), "\x00"), variable) {
			cmdline, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
			t.Errorf("process %s is left: %q", e.Name(), cmdline)
		}
	}
}

// TestStartIsGivenUp: the end of the context ends the daemon, wherever it is.
func TestStartIsGivenUp(t *testing.T) {
	t.Parallel()
	cause := errors.New("interrupted")
	for _, at := range []string{StageStart, StageInit, StageSetup, StageProbation} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			l := aDaemon(t, "obey")
			if at == StageProbation {
				l = aDaemon(t, "")
			}
			id := "HANDOFF_ID=" + rand.Text()
			l.Env = append(l.Env, id)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			pid, err := Start(ctx, l, usual, anEstate, func(p Progress) {
				if p.Stage == at {
					cancel(cause)
				}
			})
			if at == StageProbation { // it is told to take over at once: too late
				check(t, err)
				end(t, pid, unix.SIGTERM)
				return
			}
			if !errors.Is(err, cause) {
				t.Errorf("Start returned %v", err)
			}
			gone(t, id)
		})
	}
}

// TestProcessBetweenDies: a daemon that is there does without it; only its exit
// status is lost.
func TestProcessBetweenDies(t *testing.T) {
	t.Parallel()
	for part, words := range map[string]string{"gate": "", "gate, exit": "the daemon ended; its exit status is not known; its last lines: cannot go on\nsorry"} {
		t.Run(part, func(t *testing.T) {
			t.Parallel()
			l, open := gate(t, part)
			var pid int
			_, err := Start(t.Context(), l, usual, anEstate, func(p Progress) {
				if p.Stage == StageSetup {
					pid = p.PID
					between, err := openProcess(parentOf(t, pid))
					check(t, errors.Join(err, between.kill()))
					<-between.exited()
					between.close()
					open()
				}
			})
			if words != "" {
				refused(t, err, StageSetup, words)
				reap(t, pid)
				return
			}
			check(t, err)
			end(t, pid, unix.SIGTERM)
		})
	}
}

// gate is a daemon that waits in Setup until open is called.
func gate(t *testing.T, part string) (l Launch, open func()) {
	t.Helper()
	l = aDaemon(t, part)
	path := filepath.Join(t.TempDir(), "gate")
	check(t, unix.Mkfifo(path, 0o600))
	l.Env = append(l.Env, "HANDOFF_GATE="+path)
	return l, func() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		check(t, errors.Join(err, f.Close()))
	}
}

// TestStepsThatFail names each in the words of the call.
func TestStepsThatFail(t *testing.T) {
	t.Parallel()
	d := &delivery{Launch: Launch{Program: "/svc", Dir: "/dir", CoreLimit: 9}}
	const no = int(syscall.EPERM)
	for want, r := range map[string]early.Report{
		"the daemon ended with exit status 3":                                   {Step: early.StepEnded, Value: 3 << 8},
		"the daemon ended with signal: aborted (core dumped)":                   {Step: early.StepEnded, Value: int(unix.SIGABRT) | 0x80},
		"limit core dumps to 9 bytes: setrlimit: operation not permitted":       {Step: early.StepCoreLimit, Value: no},
		"chdir /dir: operation not permitted":                                   {Step: early.StepDir, Value: no},
		"prctl: operation not permitted":                                        {Step: early.StepNoNewPrivs, Value: no},
		"the privileges that were dropped can be regained: setuid(0) succeeded": {Step: early.StepPrivileges, Value: no},
		"fork/exec /svc: operation not permitted":                               {Step: early.StepExec, Value: no},
		"the start of the daemon failed at step 'o': operation not permitted":   {Step: early.StepOrder, Value: no},
	} {
		if got := d.failure(r); got.Error() != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestLauncherDies: the daemon carries on, and nothing else is left.
func TestLauncherDies(t *testing.T) {
	t.Parallel()
	l, open := gate(t, "gate")
	text, err := json.Marshal(l.Env)
	check(t, err)
	cmd := helper("launcher", "HANDOFF_ENV="+string(text))
	cmd.Stderr = l.Output
	progress, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	var pid int
	_, err = fmt.Fscan(progress, &pid)
	check(t, err)
	between := parentOf(t, pid)
	const hup = 1 << (unix.SIGHUP - 1)
	ignored, err := strconv.ParseUint(status(t, between, "SigIgn"), 16, 64)
	if err != nil || ignored&hup == 0 {
		t.Errorf("a daemon is born with SIGHUP ignored; its parent ignores %x, %v", ignored, err)
	}
	check(t, cmd.Process.Kill())
	cmd.Wait()
	status := reap(t, between) // adopted, now that its parent is gone
	if !status.Exited() {
		t.Errorf("the process between ended with %v", status)
	}
	open()
	if status := end(t, pid, unix.SIGTERM); status.ExitStatus() != 0 {
		t.Errorf("the daemon ended with %v: %s", status, said(t, l))
	}
	if text := said(t, l); !strings.Contains(text, "orphan: generation 1 of 0, launched") {
		t.Errorf("it says %q", text)
	}
}

// TestTerminal: started from a terminal, the daemon has none, gets none by opening
// one, and does not notice when it is closed.
func TestTerminal(t *testing.T) {
	t.Parallel()
	l, another := aDaemon(t, "terminal"), terminal(t)
	env, err := json.Marshal(append(l.Env, "HANDOFF_TERMINAL="+another.Name()))
	check(t, err)
	own := terminal(t)
	cmd := helper("launcher", "HANDOFF_ENV="+string(env))
	cmd.Stderr, cmd.Stdin = l.Output, own.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	var pid int
	_, err = fmt.Fscan(out, &pid)
	check(t, err)
	check(t, cmd.Wait())
	t.Cleanup(func() { end(t, pid, unix.SIGTERM) })
	check(t, errors.Join(own.slave.Close(), own.File.Close()))
	says(t, l, "generation 1 of 0, launched, environment clean, HUP 0")
	if got := stat(t, pid)[statTerminal]; got != "0" {
		t.Errorf("its terminal is %s", got)
	}
}

// A pty is both ends of a terminal.
type pty struct {
	*os.File
	slave *os.File
}

// Name is that of the terminal.
func (p pty) Name() string { return p.slave.Name() }

func terminal(t *testing.T) pty {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	var number int
	check(t, listener.Control([]syscall.Conn{master}, func(fds []int) (err error) {
		if err = unix.IoctlSetPointerInt(fds[0], unix.TIOCSPTLCK, 0); err == nil {
			number, err = unix.IoctlGetInt(fds[0], unix.TIOCGPTN)
		}
		return err
	}))
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	check(t, err)
	t.Cleanup(func() { slave.Close() })
	return pty{master, slave}
}

// launcher says the pid of a daemon that is in Setup.
func launcher() error {
	l := Launch{Program: executable, Args: os.Args, Umask: -1, CoreLimit: -1, Output: os.Stderr, ErrorOutput: os.Stderr}
	if err := json.Unmarshal([]byte(os.Getenv("HANDOFF_ENV")), &l.Env); err != nil {
		return err
	}
	_, err := Start(context.Background(), l, usual, anEstate, func(p Progress) {
		if p.Stage == StageSetup {
			fmt.Println(p.PID)
		}
	})
	return err
}

// TestLauncherIsAsBefore: a start, whether it succeeds or not, leaves nothing in
// the process that called it.
func TestLauncherIsAsBefore(t *testing.T) {
	before, ignored := openFiles(t), status(t, os.Getpid(), "SigIgn")
	hup := signal.Ignored(syscall.SIGHUP)
	for _, part := range []string{"", "error", "silence"} {
		l := aDaemon(t, part)
		l.ErrorOutput = nil
		pid, err := Start(t.Context(), l, usual, anEstate, nothing)
		if (err == nil) != (part == "") {
			t.Errorf("%q: %v", part, err)
		}
		if err == nil {
			end(t, pid, unix.SIGTERM)
		}
		l.Output.Close()
	}
	if now := openFiles(t); now != before {
		t.Errorf("%d descriptors are open, want %d", now, before)
	}
	if now := status(t, os.Getpid(), "SigIgn"); now != ignored || signal.Ignored(syscall.SIGHUP) != hup {
		t.Errorf("the signals %s are ignored, before it was %s", now, ignored)
	}
}

// daemon plays a generation of a service.
func daemon() error {
	part := os.Getenv("HANDOFF_PART")
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	switch part {
	case "exit", "silence", "leave", "killed", "mute":
		return quit(part)
	}
	if part == "other" {
		Claim("other")
		<-term
		return nil
	}
	self, err := Claim("test")
	if err != nil {
		self.Failed(StageInit, err)
		return err
	}
	defer self.Close()
	self.Stage(StageSetup)
	if err := setup(self, part); err != nil {
		self.Failed(StageSetup, err)
		return err
	}
	self.Serving("v1")
	orphan := ""
	select {
	case ev := <-self.Events():
		if ev == (Go{Orphan: true}) {
			orphan = "orphan: "
		} else if ev != (Go{}) {
			return fmt.Errorf("%+v", ev)
		}
	case <-time.After(time.Minute):
		return errors.New("no verdict")
	}
	self.Commit(func() {})
	fmt.Println(orphan + describe(self))
	if part == "upgrade" && self.Number() == 1 {
		return replace(self)
	}
	<-term
	return nil
}

func quit(part string) error {
	switch part {
	case "leave":
		os.Exit(0)
	case "killed":
		unix.Kill(os.Getpid(), unix.SIGKILL)
		select {}
	case "mute":
		select {}
	case "silence":
		os.Exit(7)
	}
	fmt.Println("cannot go on")
	fmt.Fprintln(os.Stderr, "sorry")
	os.Exit(7)
	return nil
}

func setup(self *Self, part string) error {
	switch part {
	case "error":
		return errors.New("no database")
	case "panic":
		panic("no database")
	case "overflow":
		debug.SetMaxStack(1 << 16)
		var deeper func(int) int
		deeper = func(n int) int { return deeper(n+1) + n }
		deeper(0)
	case "hang":
		select {}
	case "log":
		fd, err := unix.Open(os.Getenv("HANDOFF_LOG"), unix.O_WRONLY|unix.O_APPEND|unix.O_CLOEXEC, 0)
		return errors.Join(err, unix.Dup3(fd, unix.Stdout, 0), unix.Close(fd))
	case "terminal":
		_, err := os.OpenFile(os.Getenv("HANDOFF_TERMINAL"), os.O_RDWR, 0)
		return err
	case "obey":
		return fmt.Errorf("told: %+v", <-self.Events())
	case "gate", "gate, exit", "gate, write":
		if _, err := os.ReadFile(os.Getenv("HANDOFF_GATE")); err != nil {
			return err
		}
		if part == "gate, exit" {
			return quit(part)
		}
		if part == "gate, write" {
			_, err := fmt.Fprintln(os.Stderr, "nobody reads this")
			fmt.Println(err)
		}
	}
	return nil
}

// describe is what this generation knows of itself.
func describe(self *Self) string {
	legacy := self.Legacy()
	launched, environment, lock := "not launched", "clean", "-"
	if legacy.Launched {
		launched = "launched"
	}
	for _, name := range []string{early.Launch, early.Sentinel} {
		if v, ok := os.LookupEnv(name); ok {
			environment = name + "=" + v
		}
	}
	if legacy.Lock != nil {
		lock, _ = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", legacy.Lock.Fd()))
	}
	older := []int{}
	for _, p := range self.Older() {
		older = append(older, p.Generation)
	}
	hup := 0
	if self.HUP() {
		hup = 1
	}
	if !legacy.Daemon {
		launched += ", and no daemon"
	}
	return fmt.Sprintf("generation %d of %d, %s, environment %s, HUP %d, %d sockets, lock %s, history %s, older %v",
		self.Number(), legacy.From, launched, environment, hup, len(legacy.FDs), lock, legacy.History, older)
}

func replace(self *Self) error {
	e := anEstate
	e.Daemon, e.History = self.Legacy().Daemon, json.RawMessage(`{"upgrades":1}`)
	if err := self.Upgrade(context.Background(), usual, func() Estate { return e }, nothing); err != nil {
		return err
	}
	fmt.Println("replaced by", self.Successor().PID)
	return nil
}
