//go:build linux

package test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/test/harness"
	"github.com/gracerun/grace/test/load"
)

// A kept service has a process that keeps its pid, the anchor: because it was asked
// for, or because it is the first process of a pid namespace, as in a container. All
// pids here are those of the test's own namespace.
type kept struct {
	*harness.Service
	t      *testing.T
	ctx    context.Context
	d      *director
	first  bool // the anchor is process 1
	anchor int

	started string // the program
	mark    int    // how long the log was then
}

// eachAnchor runs f with both kinds, and with flags of the service.
func eachAnchor(t *testing.T, f func(*testing.T, *kept), flags ...string) {
	t.Parallel()
	for _, first := range []bool{false, true} {
		name := "stable pid"
		if first {
			name = "process 1"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, startKept(t, first, flags...))
		})
	}
}

// startKept starts testdata/service, and waits until it serves.
func startKept(t *testing.T, first bool, flags ...string) *kept {
	return startKeptBy(t, first, nil, flags...)
}

// startKeptBy has the words executed, with the command line of the service as arguments.
func startKeptBy(t *testing.T, first bool, words []string, flags ...string) *kept {
	t.Helper()
	binary := build(t, "test/testdata/service")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	k := &kept{t: t, ctx: ctx, d: newDirector(t), first: first}
	dir, err := os.MkdirTemp("", "anchor-") // short: the path of a socket is in it
	k.must(err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	cfg := harness.Config{
		Binary: binary, Path: "bin/service",
		Args: append([]string{"-probation", "20ms", "-drain", "10s", "-rundir", dir}, flags...),
		Env:  []string{"DIRECTOR=" + k.d.address()}, Network: "unix", Address: filepath.Join(dir, "web.sock"),
	}
	if first {
		inNamespace(t, &cfg, words...)
	} else {
		cfg.Args = append(cfg.Args, "run", "--stable-pid")
	}
	k.Service, err = harness.Start(cfg)
	k.must(err)
	t.Cleanup(k.end)
	k.begin()
	return k
}

// begin waits until the first generation serves.
func (k *kept) begin() {
	k.t.Helper()
	k.serves(1)
	k.anchor, k.started = k.First, k.Path
	if k.first {
		k.anchor = k.child(k.First)
		k.Path = programIn(k.Root) // for Install
	}
}

// again starts a service that has ended.
func (k *kept) again() {
	k.t.Helper()
	k.Path, k.mark = k.started, len(k.Log())
	k.must(k.Restart())
	k.begin()
}

// inNamespace has a service run as process 1 of a pid namespace. unshare(1) stays, and
// exits as that does.
func inNamespace(t *testing.T, cfg *harness.Config, words ...string) {
	t.Helper()
	unshare, err := exec.LookPath("unshare")
	if err != nil || os.Getuid() != 0 {
		t.Skip("a pid namespace needs root and unshare(1): ", err)
	}
	binary := cfg.Binary
	cfg.Binary, cfg.Path = unshare, "bin/unshare"
	cfg.Args = slices.Concat([]string{"--pid", "--fork", "--mount-proc", "--kill-child"}, words, []string{programIn(harness.Root)}, cfg.Args)
	cfg.Prepare = func(s *harness.Service) error {
		started := s.Path
		s.Path = programIn(s.Root)
		defer func() { s.Path = started }()
		return s.Install(binary)
	}
}

func programIn(root string) string { return filepath.Join(root, "bin", "service") }

func (k *kept) must(err error) {
	k.t.Helper()
	if err != nil {
		k.t.Fatal(err)
	}
}

// end shows what a service said whose test has failed.
func (k *kept) end() {
	if k.t.Failed() {
		k.t.Log(k.Log())
	}
	if err := k.Close(); err != nil && !k.t.Failed() {
		k.t.Error(err)
	}
}

func (k *kept) signal(pid int, sig syscall.Signal) {
	k.t.Helper()
	k.must(k.Signal(pid, sig))
}

func (k *kept) until(done func() bool, format string, args ...any) {
	k.t.Helper()
	k.must(until(k.ctx, func() error {
		if !done() {
			return fmt.Errorf(format, args...)
		}
		return nil
	}))
}

// serves waits until a generation owns the service, and returns its pid.
func (k *kept) serves(n int) (pid int) {
	k.t.Helper()
	k.logs("msg=ready", fmt.Sprintf("generation=%d ", n))
	var inside int
	k.until(func() bool {
		var g int
		var err error
		g, inside, err = k.Who(k.ctx)
		return err == nil && g == n
	}, "generation %d does not answer", n)
	return k.outside(inside)
}

func (k *kept) logs(words ...string) {
	k.t.Helper()
	_, err := k.Logged(k.ctx, k.mark, words...)
	k.must(err)
}

// childAt begins an upgrade and returns the new process, held at a step.
func (k *kept) childAt(step string) *held {
	k.t.Helper()
	k.d.next(step, hold)
	k.signal(k.anchor, syscall.SIGHUP)
	h, err := k.d.wait(k.ctx, step)
	k.must(err)
	return h
}

// outside is the pid of a process that says what it has in its own namespace.
func (k *kept) outside(inside int) (pid int) {
	k.t.Helper()
	all, err := k.Processes()
	k.must(err)
	for _, p := range all {
		fields := strings.Fields(k.status(p.PID, "NSpid"))
		if len(fields) > 0 && fields[len(fields)-1] == strconv.Itoa(inside) {
			return p.PID
		}
	}
	k.t.Fatalf("no process says that it is %d", inside)
	return 0
}

// status is a field of /proc/PID/status; "" of a process that is gone.
func (k *kept) status(pid int, field string) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// child is the only one of a process.
func (k *kept) child(of int) int {
	k.t.Helper()
	all, err := k.Processes()
	k.must(err)
	for _, p := range all {
		if p.Parent == of {
			return p.PID
		}
	}
	k.t.Fatalf("%d has no child in %v", of, all)
	return 0
}

// alone waits until there is nobody but the anchor and that generation, dead or alive.
func (k *kept) alone(pid int) {
	k.t.Helper()
	k.until(func() bool {
		n := 0
		all, err := k.Processes()
		k.must(err)
		for _, p := range all {
			if p.PID != k.First {
				n++
			}
		}
		return n == map[bool]int{false: 1, true: 2}[k.first] && k.status(pid, "PPid") == strconv.Itoa(k.anchor)
	}, "others are there, too")
}

// ends waits until nothing is left, and returns how the anchor has ended.
func (k *kept) ends() syscall.WaitStatus {
	k.t.Helper()
	k.must(k.Exited(k.ctx, k.First))
	k.must(k.Gone(k.ctx))
	status, ok := k.Status(k.First)
	if !ok {
		k.t.Fatal("nobody knows how the service has ended")
	}
	return status
}

// endsBy checks that the anchor has ended as a process that was killed.
func (k *kept) endsBy(sig syscall.Signal) {
	k.t.Helper()
	status := k.ends()
	if k.first && status.ExitStatus() != 128+int(sig) || !k.first && (!status.Signaled() || status.Signal() != sig) {
		k.t.Errorf("the wait status of the service is %#x, want that of %v", status, sig)
	}
}

// exits checks that the anchor exits as the service did.
func (k *kept) exits(code int) {
	k.t.Helper()
	if status := k.ends(); !status.Exited() || status.ExitStatus() != code {
		k.t.Errorf("the wait status of the service is %#x, want exit status %d", status, code)
	}
}

// TestAnchorKeepsThePID: HUP to it upgrades the service, and TERM drains it.
func TestAnchorKeepsThePID(t *testing.T) {
	eachAnchor(t, func(t *testing.T, k *kept) {
		const upgrades = 10
		for n := 2; n <= upgrades+1; n++ {
			k.signal(k.anchor, syscall.SIGHUP)
			k.alone(k.serves(n))
		}
		k.signal(k.anchor, syscall.SIGTERM)
		k.exits(0)
	})
}

// TestAnchorIsSmall: what it has for itself.
func TestAnchorIsSmall(t *testing.T) {
	eachAnchor(t, func(t *testing.T, k *kept) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", k.anchor))
		k.must(err)
		for line := range strings.Lines(string(text)) {
			var size int
			fmt.Sscanf(line, "Anonymous: %d kB", &size)
			if size > 0 {
				t.Logf("memory of its own: %d kB", size)
			}
			if size > 4096 {
				t.Errorf("the anchor has %d kB of its own: has a package been initialized in it?", size)
			}
		}
		k.signal(k.anchor, syscall.SIGTERM)
		k.exits(0)
	})
}

// TestAnchorReaps the orphans that the service leaves.
func TestAnchorReaps(t *testing.T) {
	eachAnchor(t, func(t *testing.T, k *kept) {
		first := k.serves(1)
		for range 20 {
			k.shell("sleep 0.01 >/dev/null 2>&1 &")
		}
		k.alone(first)
		k.shell("sleep 60 >/dev/null 2>&1 &") // it ends with process 1, and else outlives the service
		k.signal(k.anchor, syscall.SIGHUP)
		k.serves(2)
		k.signal(k.anchor, syscall.SIGTERM)
		k.must(k.Exited(k.ctx, k.First))
		if !k.first {
			all, err := k.Processes()
			k.must(err)
			if len(all) != 1 {
				t.Fatalf("there is %v, want the orphan", all)
			}
			k.signal(all[0].PID, syscall.SIGKILL)
		}
		k.exits(0)
	})
}

// shell has the service run a command.
func (k *kept) shell(command string) string {
	k.t.Helper()
	text, err := k.Get(k.ctx, "/shell?c="+url.QueryEscape(command))
	k.must(err)
	return text
}

// TestAnchorLeavesNoTrace in what the service starts: no variable, no descriptor, no
// blocked or ignored signal.
func TestAnchorLeavesNoTrace(t *testing.T) {
	eachAnchor(t, func(t *testing.T, k *kept) {
		for n := 1; n <= 2; n++ {
			k.serves(n)
			text := k.shell("cat /proc/self/status; tr '\\0' '\\n' </proc/self/environ; ls -l /proc/self/fd")
			for _, want := range []string{"SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000", "DIRECTOR="} {
				if !strings.Contains(text, want) {
					t.Errorf("generation %d: not %q in\n%s", n, want, text)
				}
			}
			for _, trace := range []string{"GRACERUN", "TABLEFLIP", "socket:", "memfd:"} {
				if strings.Contains(text, trace) {
					t.Errorf("generation %d: %q in\n%s", n, trace, text)
				}
			}
			k.signal(k.anchor, syscall.SIGHUP)
		}
		k.serves(3)
		k.signal(k.anchor, syscall.SIGTERM)
		k.exits(0)
	})
}

// TestAnchorEndsAsTheService does.
func TestAnchorEndsAsTheService(t *testing.T) {
	t.Parallel()
	t.Run("killed", func(t *testing.T) {
		eachAnchor(t, func(t *testing.T, k *kept) {
			k.signal(k.anchor, syscall.SIGHUP)
			pid := k.serves(2)
			k.alone(pid)
			k.signal(pid, syscall.SIGKILL)
			k.endsBy(syscall.SIGKILL)
		})
	})
	t.Run("goroutines", func(t *testing.T) {
		eachAnchor(t, func(t *testing.T, k *kept) {
			k.signal(k.anchor, syscall.SIGQUIT)
			k.exits(2)
			k.again()
			k.signal(k.anchor, syscall.SIGABRT)
			k.exits(2)
			for _, sig := range []string{"SIGQUIT: quit", "SIGABRT: abort"} {
				if _, trace, _ := strings.Cut(k.Log(), sig); !strings.Contains(trace, "gracerun.(*life).loop") {
					t.Errorf("after %s the service has not shown its goroutines", sig)
				}
			}
		})
	})
	t.Run("interrupted twice", func(t *testing.T) {
		eachAnchor(t, func(t *testing.T, k *kept) {
			k.d.next("wait", hold)
			go k.Get(k.ctx, "/wait")
			_, err := k.d.wait(k.ctx, "wait")
			k.must(err)
			k.signal(k.anchor, syscall.SIGINT)
			k.logs("draining: the service stops")
			k.signal(k.anchor, syscall.SIGINT)
			k.exits(1)
			k.logs("interrupted twice")
		})
	})
}

// TestAnchorIsKilled: who watches it believes that the service is gone, and starts a new
// one, which finds it locked until the old one has ended.
func TestAnchorIsKilled(t *testing.T) {
	t.Parallel()
	k := startKept(t, false)
	k.signal(k.anchor, syscall.SIGHUP)
	k.serves(2)
	k.signal(k.anchor, syscall.SIGKILL)
	k.endsBy(syscall.SIGKILL)
	k.logs("draining: the service stops", "the process that kept the pid is dead")
}

// TestNoAnchorInASandbox: where it could not follow a process, process 1 is the service.
func TestNoAnchorInASandbox(t *testing.T) {
	t.Parallel()
	k := startKeptBy(t, true, []string{build(t, "test/testdata/sandbox")})
	k.logs("no upgrades: process 1 has to stay", "pidfd_open: function not implemented")
	k.logs("msg=ready", " pid=1 ")
	k.signal(k.anchor, syscall.SIGTERM)
	k.exits(0)
}

// TestAnchorBadProgram: the service stays as it is.
func TestAnchorBadProgram(t *testing.T) {
	eachAnchor(t, func(t *testing.T, k *kept) {
		k.must(k.InstallText("#!/bin/sh\nexit 7\n", 0o755))
		k.signal(k.anchor, syscall.SIGHUP)
		k.logs("upgrade failed", "exit status 7")
		k.must(k.Install(build(t, "test/testdata/service")))
		k.signal(k.anchor, syscall.SIGHUP)
		k.alone(k.serves(2))
		k.signal(k.anchor, syscall.SIGTERM)
		k.exits(0)
	})
}

// TestAnchorOldKilled: the successor on its way takes over, and the pid stays.
func TestAnchorOldKilled(t *testing.T) {
	t.Parallel()
	for _, step := range heldSteps {
		t.Run(step, func(t *testing.T) {
			eachAnchor(t, func(t *testing.T, k *kept) {
				old := k.serves(1)
				h := k.childAt(step)
				k.signal(old, syscall.SIGKILL)
				k.must(k.Exited(k.ctx, old))
				h.tell("go")
				k.alone(k.serves(2))
				k.signal(k.anchor, syscall.SIGHUP)
				k.alone(k.serves(3))
				k.signal(k.anchor, syscall.SIGTERM)
				k.exits(0)
			})
		})
	}
}

// TestAnchorStopsTheNext: if who was told to stop could not, and another takes over, that
// one is told, too.
func TestAnchorStopsTheNext(t *testing.T) {
	eachAnchor(t, func(t *testing.T, k *kept) {
		old := k.serves(1)
		h := k.childAt("setup")
		k.signal(old, syscall.SIGSTOP)
		k.until(func() bool { return strings.HasPrefix(k.status(old, "State"), "T") }, "%d has not stopped", old)
		k.signal(k.anchor, syscall.SIGTERM)
		k.until(func() bool { return k.status(old, "ShdPnd") == "0000000000004000" }, "no TERM came")
		k.signal(old, syscall.SIGKILL)
		k.must(k.Exited(k.ctx, old))
		h.tell("go")
		k.exits(0)
	})
}

// TestAnchorBothDie: a successor that fails after its predecessor was killed leaves
// nobody.
func TestAnchorBothDie(t *testing.T) {
	eachAnchor(t, func(t *testing.T, k *kept) {
		old := k.serves(1)
		h := k.childAt("setup")
		k.signal(old, syscall.SIGKILL)
		k.must(k.Exited(k.ctx, old))
		h.tell("error no more")
		k.endsBy(syscall.SIGKILL)
	})
}

// TestAnchorNoHandles: where the kernel has no handles of processes, nothing is begun.
func TestAnchorNoHandles(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), build(t, "test/testdata/service"), "-rundir", t.TempDir(), "run", "--stable-pid")
	var out []byte
	done := make(chan error)
	go func() { // the thread, and with it the filter, ends with this goroutine
		runtime.LockOSThread()
		err := forbid(unix.SYS_PIDFD_OPEN)
		if err == nil {
			out, _ = cmd.CombinedOutput()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if cmd.ProcessState.ExitCode() != 3 || !strings.Contains(string(out), "pidfd_open: function not implemented") {
		t.Errorf("%v: %s", cmd.ProcessState, out)
	}
}

// forbid has this thread, and what it starts, told that there is no such call.
func forbid(call uint32) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
}

// TestAnchorSuccessorHangs: a successor that does not come to Run, with nobody left to
// watch it, keeps the supervisor from starting the service again for no longer than it
// had time to come up.
func TestAnchorSuccessorHangs(t *testing.T) {
	eachAnchor(t, func(t *testing.T, k *kept) {
		old := k.serves(1)
		k.childAt("init")
		k.signal(old, syscall.SIGKILL)
		k.must(k.Exited(k.ctx, old))
		k.logs("generation 2 ends", "App.ReadyTimeout")
		k.endsBy(syscall.SIGKILL)
	}, "-ready", "1s")
}

// TestAnchorNewestKilled: older generations that still drain do not keep the supervisor
// from starting the service again.
func TestAnchorNewestKilled(t *testing.T) {
	eachAnchor(t, func(t *testing.T, k *kept) {
		k.d.next("wait", hold)
		go k.Get(k.ctx, "/wait")
		_, err := k.d.wait(k.ctx, "wait")
		k.must(err)
		k.signal(k.anchor, syscall.SIGHUP)
		newest := k.serves(2)
		k.logs("generation=1 ", "upgrade committed") // from now on it does not serve on
		k.signal(newest, syscall.SIGKILL)
		k.endsBy(syscall.SIGKILL)
	})
}

// TestAnchorFirstMoments: a TERM ends what has just been started, and HUPs end nothing.
func TestAnchorFirstMoments(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := func(dir string) *exec.Cmd {
		// HUP is ignored first: a Go program is mortal until it has got to main.
		cmd := exec.Command("sh", "-c", `trap "" HUP; exec "$0" "$@"`, build(t, "test/testdata/service"),
			"-rundir", dir, "-probation", "-1s", "run", "--stable-pid")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill() }) // of one that a failed test leaves
		return cmd
	}
	for range 40 {
		cmd := run(filepath.Join(dir, "term"))
		load.Pause(t.Context(), mathrand.N(20*time.Millisecond))
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil && cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
			t.Fatal(err)
		}
	}
	for range 5 {
		cmd := run(filepath.Join(dir, "hup"))
		if err := until(t.Context(), func() error { return isImmortal(cmd.Process.Pid) }); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); load.Pause(t.Context(), 100*time.Microsecond) {
			cmd.Process.Signal(syscall.SIGHUP)
		}
		if err := until(t.Context(), func() error { _, err := os.Stat(filepath.Join(dir, "hup", "service.pid")); return err }); err != nil {
			t.Fatal(err)
		}
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAnchorReplacedMeanwhile: what is put in the place of a program that was only just
// started is the first generation, for a HUP that asks for it may come too early.
func TestAnchorReplacedMeanwhile(t *testing.T) {
	t.Parallel()
	started := build(t, "test/testdata/service")
	name := filepath.Join(t.TempDir(), filepath.Base(started))
	if err := harness.WriteProgram(name, []byte("#!/bin/sh\necho the new one; exit 7\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), started, "run", "--stable-pid")
	cmd.Args[0] = name
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 7 || string(out) != "the new one\n" {
		t.Errorf("%v: %q", err, out)
	}
}

// isImmortal returns nil when the shell ignores HUP, or has executed the service.
func isImmortal(pid int) error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err == nil && strings.Contains(string(text), "Name:\tsh\n") && !strings.Contains(string(text), "SigIgn:\t0000000000000001") {
		err = errors.New("the shell does not ignore HUP")
	}
	return err
}

// TestAnchorStopsInAnUpgrade: whoever owns the service in that moment, a TERM is not lost.
func TestAnchorStopsInAnUpgrade(t *testing.T) {
	eachAnchor(t, func(t *testing.T, k *kept) {
		rounds := 15
		if testing.Short() {
			rounds = 8
		}
		for range rounds {
			k.signal(k.anchor, syscall.SIGHUP)
			load.Pause(k.ctx, mathrand.N(60*time.Millisecond))
			k.signal(k.anchor, syscall.SIGTERM)
			k.exits(0)
			k.again()
		}
		k.signal(k.anchor, syscall.SIGTERM)
		k.exits(0)
	})
}

// TestAnchorStorm: signals without an end keep it from nothing.
func TestAnchorStorm(t *testing.T) {
	eachAnchor(t, func(t *testing.T, k *kept) {
		ended := make(chan struct{})
		var storm sync.WaitGroup
		for range 3 {
			storm.Go(func() {
				all := []syscall.Signal{syscall.SIGWINCH, syscall.SIGCONT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGCHLD}
				for i := 0; syscall.Kill(k.anchor, all[i%len(all)]) == nil && k.ctx.Err() == nil; i++ {
					select {
					case <-ended:
						return
					default:
					}
				}
			})
		}
		k.signal(k.anchor, syscall.SIGHUP)
		k.serves(2)
		k.signal(k.anchor, syscall.SIGTERM)
		k.exits(0)
		close(ended)
		storm.Wait()
	})
}

// TestAnchorTerminal: Ctrl-C goes to the whole group, and so reaches the service once.
func TestAnchorTerminal(t *testing.T) {
	t.Parallel()
	ours, theirs, err := openPTY()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	defer theirs.Close()
	d, dir := newDirector(t), t.TempDir()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(build(t, "test/testdata/service"), "-rundir", dir, "run", "--stable-pid")
	cmd.Env = append(os.Environ(), "DIRECTOR="+d.address())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	says := func(words string) error {
		text, _ := os.ReadFile(log.Name())
		if !strings.Contains(string(text), words) {
			return fmt.Errorf("%q is not in the log:\n%s", words, text)
		}
		return nil
	}
	fail := func(err error) {
		if err != nil {
			cmd.Process.Kill()
			cmd.Wait()
			t.Fatal(err)
		}
	}
	fail(until(t.Context(), func() error { return says("msg=ready") }))
	d.next("wait", hold)
	answer := make(chan error, 1)
	go func() { answer <- askAt(filepath.Join(dir, "web.sock"), "/wait") }()
	h, err := d.wait(t.Context(), "wait")
	fail(err)
	_, err = ours.Write([]byte{3})
	fail(err)
	fail(until(t.Context(), func() error { return says("draining: the service stops") }))
	h.tell("go")
	fail(<-answer)
	if err := cmd.Wait(); err != nil {
		t.Error(err, says("nothing"))
	}
}

// askAt makes a request at a unix socket.
func askAt(socket, path string) error {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	resp, err := client.Get("http://service" + path)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return errors.Join(err, resp.Body.Close())
}

// TestAnchorVariableLeaks: in a program that nobody has started as what it says, it
// means nothing.
func TestAnchorVariableLeaks(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"a0", "g0", "a3", "g3", "g5", "a99999", "g", "x", "a-1", "g1x"} {
		s := newScene(t, times{}, func(c *harness.Config) { c.Env = append(c.Env, "GRACERUN_ANCHOR="+value) })
		s.upgrade()
		s.alone()
		s.finish()
	}
}

// TestAnchorActivated: what a service manager says to the process that it has started
// reaches the first generation, and no descriptor of it is left in the anchor.
func TestAnchorActivated(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	u := &unit{t: t}
	web := u.open("web", "tcp", "127.0.0.1:0")
	first := u.dial(web)
	binary := build(t, "test/testdata/loss/sockets")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	p := &ports{t: t, ctx: ctx, dir: dir, generation: 1}
	p.listen([]string{"systemd web"})
	p.Service = start(t, harness.Config{
		Binary: binary, Args: []string{"-dir", dir, "run", "--stable-pid"},
		Env: []string{"LISTEN_FDNAMES=web"}, Passed: u.files,
		Network: "unix", Address: filepath.Join(dir, "http.sock"), PIDFile: filepath.Join(dir, "sockets.pid"),
	})
	_, err := p.Generation(ctx, 1)
	p.must(err)
	first.answeredBy(t, "1")
	fds, err := harness.OpenFDs(p.First)
	p.must(err)
	sockets := slices.DeleteFunc(fds, func(fd harness.FD) bool { return fd.Kind != "socket" })
	if len(sockets) != 1 { // its line to the generations
		t.Errorf("the anchor has open\n%s", sockets.List())
	}
	for range 3 {
		p.upgrade()
		pid, err := p.PID()
		p.must(err)
		p.withoutManager(pid)
	}
	u.dial(web).answeredBy(t, "") // maybe by one that drains
	p.must(p.Signal(p.First, syscall.SIGTERM))
	p.must(p.Gone(ctx))
}

// TestAnchorUnderLoad: nothing is lost where the service is process 1.
func TestAnchorUnderLoad(t *testing.T) {
	n := upgradesOr(t, 10)
	const linger = 500 * time.Millisecond
	dir := t.TempDir()
	s := &site{linger: linger, unix: load.Target{Network: "unix", Address: filepath.Join(dir, "http.sock")}}
	trust := makeCertificate(t, dir)
	cfg := harness.Config{
		Binary: build(t, "test/testdata/loss/service"), Args: []string{"-dir", dir, "-linger", linger.String(), "-probation", "20ms"},
		Network: "unix", Address: s.unix.Address,
	}
	inNamespace(t, &cfg)
	s.Service = start(t, cfg)
	if err := until(t.Context(), func() error { return s.findAddresses(t.Context(), "service") }); err != nil {
		t.Fatalf("%v\n%s", err, s.Log())
	}
	s.tls.TLS = &tls.Config{RootCAs: trust}
	k := &kept{Service: s.Service, t: t, ctx: t.Context()}
	k.anchor = k.child(k.First)
	var r load.Runner
	var seen sightings
	res := s.under(t, &r, s.everybody(&seen), func(ctx context.Context) {
		for i := range n {
			k.signal(k.anchor, syscall.SIGHUP)
			k.serves(i + 2)
			load.Pause(ctx, mathrand.N(200*time.Millisecond))
		}
	})
	t.Logf("%d upgrades\n%v", n, res)
	s.explain(t, res)
	seen.check(t, res)
	k.signal(k.anchor, syscall.SIGTERM)
	k.exits(0)
	s.noErrors(t)
}
