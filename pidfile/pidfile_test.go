//go:build unix

package pidfile_test

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/gracerun/grace/pidfile"
	"golang.org/x/sys/unix"
)

func TestLockPath(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ path, want string }{
		{"/run/x.pid", "/run/x.lock"},
		{"/run/x", "/run/x.lock"},
		{"/run/x.pid.d", "/run/x.pid.d.lock"},
	} {
		if got := pidfile.LockPath(test.path); got != test.want {
			t.Errorf("LockPath(%q) = %q, want %q", test.path, got, test.want)
		}
	}
}

func TestAcquireHeldByThisProcess(t *testing.T) {
	t.Parallel()
	path := temp(t)
	f := own(t, path)
	for _, when := range []string{"before", "after"} {
		_, err := pidfile.Acquire(path)
		var locked *pidfile.LockedError
		if !errors.As(err, &locked) || locked.Path != path {
			t.Fatalf("%s WritePID: %v, want a LockedError for %s", when, err, path)
		}
		// Only Linux knows it without a pid file.
		if locked.PID == os.Getpid() && !strings.Contains(err.Error(), "this very process") {
			t.Errorf("%s WritePID: %q does not say that it is this process", when, err)
		}
		if when == "after" && locked.PID != os.Getpid() {
			t.Errorf("pid %d, want %d", locked.PID, os.Getpid())
		}
		check(t, f.WritePID())
	}
	check(t, f.Close())
	wantFree(t, path)
	own(t, path)
}

func TestAcquireHeldByAnother(t *testing.T) {
	t.Parallel()
	path := temp(t)
	p := start(t, command("hold", path))
	p.expect("held")
	_, err := pidfile.Acquire(path)
	var locked *pidfile.LockedError
	if !errors.As(err, &locked) || locked.PID != p.cmd.Process.Pid {
		t.Fatalf("%v, want a LockedError with pid %d", err, p.cmd.Process.Pid)
	}
	for _, part := range []string{path, fmt.Sprint(locked.PID), "stop"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not mention %q", err, part)
		}
	}
	p.end()
	own(t, path)
}

func TestAcquireDirectory(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing")
	_, err := pidfile.Acquire(filepath.Join(missing, "x.pid"))
	pathErr, ok := err.(*fs.PathError)
	if !ok || !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(pathErr.Path, missing) {
		t.Errorf("%v, want a PathError in %s", err, missing)
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("Acquire has made the directory")
	}
	path := temp(t)
	cmd := command("acquire", path)
	if os.Geteuid() == 0 {
		cmd.Env = append(cmd.Env, "PIDFILE_NOBODY=1")
	} else {
		check(t, os.Chmod(filepath.Dir(path), 0o555))
	}
	if got := start(t, cmd).line(); !strings.HasPrefix(got, "*fs.PathError") || !strings.Contains(got, "permission denied") {
		t.Errorf("%q, want a PathError", got)
	}
}

func TestEmptyPath(t *testing.T) {
	t.Parallel()
	if _, err := pidfile.Acquire(""); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestAcquireRefuses puts things that a pid file is not in both places.
func TestAcquireRefuses(t *testing.T) {
	t.Parallel()
	odd := oddFiles()
	for _, name := range slices.Sorted(maps.Keys(odd)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := temp(t)
			odd[name](t, path)
			refused(t, path, func() error { _, err := pidfile.Acquire(path); return err })
			if name == "world-writable" {
				return // a lock file's mode is corrected instead
			}
			path = temp(t)
			lock := pidfile.LockPath(path)
			odd[name](t, lock)
			refused(t, lock, func() error { _, err := pidfile.Acquire(path); return err })
			refused(t, lock, func() error { _, err := pidfile.Read(path); return err })
		})
	}
}

func oddFiles() map[string]func(t *testing.T, path string) {
	return map[string]func(t *testing.T, path string){
		"symbolic link": func(t *testing.T, path string) {
			write(t, path+".target", fmt.Sprintln(os.Getpid()))
			check(t, os.Symlink(path+".target", path))
		},
		"fifo":      func(t *testing.T, path string) { check(t, unix.Mkfifo(path, 0o644)) },
		"directory": func(t *testing.T, path string) { check(t, os.Mkdir(path, 0o755)) },
		"world-writable": func(t *testing.T, path string) {
			write(t, path, fmt.Sprintln(os.Getpid()))
			check(t, os.Chmod(path, 0o666))
		},
	}
}

// refused checks that the error of try names the file and the way out.
func refused(t *testing.T, path string, try func() error) {
	t.Helper()
	err := try()
	pathErr, ok := err.(*fs.PathError)
	if !ok || pathErr.Path != path || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("%v, want a PathError for %s with the way out", err, path)
	}
}

func TestLockFileMode(t *testing.T) {
	t.Parallel()
	path := temp(t)
	lock := pidfile.LockPath(path)
	write(t, lock, "")
	check(t, os.Chmod(lock, 0o666))
	own(t, path)
	wantMode(t, lock, 0o600)
}

func TestUmaskDoesNotMatter(t *testing.T) {
	t.Parallel()
	path := temp(t)
	p := start(t, command("modes", path))
	for range 2 {
		p.expect("written")
		wantMode(t, path, 0o644)
		wantMode(t, pidfile.LockPath(path), 0o600)
		p.send("next")
	}
}

func modes(path string, in *bufio.Scanner) {
	for _, mask := range []int{0, 0o777} {
		syscall.Umask(mask)
		f, err := pidfile.Acquire(path)
		must(err)
		must(f.WritePID())
		fmt.Println("written")
		in.Scan()
		must(f.Remove())
		must(f.Close())
		must(os.Remove(pidfile.LockPath(path))) // the second round makes it under the other umask
	}
}

func wantMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	check(t, err)
	if info.Mode() != want {
		t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
	}
}

// TestRelativePath shows that a later chdir does not matter.
func TestRelativePath(t *testing.T) {
	t.Parallel()
	path := temp(t)
	cmd := command("relative", filepath.Base(path))
	cmd.Dir = filepath.Dir(path)
	p := start(t, cmd)
	p.expect(path)
	wantPID(t, path, p.cmd.Process.Pid)
}

func relative(path string, in *bufio.Scanner) {
	f, err := pidfile.Acquire(path)
	must(err)
	must(os.Chdir("/"))
	must(f.WritePID())
	fmt.Println(f.Path())
	in.Scan()
	must(f.Remove())
}

// TestOneHolder lets 16 processes try at once, in many rounds.
func TestOneHolder(t *testing.T) {
	t.Parallel()
	path := temp(t)
	var racers []*process
	for range 16 {
		racers = append(racers, start(t, command("race", path)))
	}
	tell := func(what string) {
		for _, p := range racers {
			p.send(what)
		}
	}
	for round := range 160 {
		tell("take")
		won := 0
		for _, p := range racers {
			if p.line() == "won" {
				won++
			}
		}
		if won != 1 {
			t.Fatalf("round %d: %d holders", round, won)
		}
		tell("drop")
		for _, p := range racers {
			p.expect("dropped")
		}
	}
}

func race(path string, in *bufio.Scanner) {
	var f *pidfile.File
	for in.Scan() {
		if in.Text() == "drop" {
			if f != nil {
				must(f.Close())
			}
			fmt.Println("dropped")
			continue
		}
		var err error
		var locked *pidfile.LockedError
		f, err = pidfile.Acquire(path)
		if err == nil {
			fmt.Println("won")
		} else if errors.As(err, &locked) {
			fmt.Println("lost")
		} else {
			must(err)
		}
	}
}

// TestUnlinkedLockFile adds what we never do and others do: each holder unlinks the lock
// file when it leaves, so that whoever had just opened it locks a lost inode.
func TestUnlinkedLockFile(t *testing.T) {
	t.Parallel()
	path := temp(t)
	var racers []*process
	for range 8 {
		racers = append(racers, start(t, command("churn", path)))
	}
	for _, p := range racers {
		p.send("go")
	}
	for _, p := range racers {
		p.expect("ok")
	}
}

func churn(path string, in *bufio.Scanner) {
	in.Scan()
	for range 500 {
		f, err := pidfile.Acquire(path)
		var locked *pidfile.LockedError
		if errors.As(err, &locked) {
			continue
		}
		must(err)
		witness, err := os.OpenFile(path+".witness", os.O_CREATE|os.O_EXCL, 0o600)
		must(err) // it exists: there are two holders
		must(witness.Close())
		must(os.Remove(path + ".witness"))
		must(os.Remove(pidfile.LockPath(path)))
		must(f.Close())
	}
	fmt.Println("ok")
}

func TestAdopt(t *testing.T) {
	t.Parallel()
	path := temp(t)
	old := own(t, path)
	successor, err := pidfile.Adopt(path, share(t, old))
	check(t, err)
	defer successor.Close()

	check(t, old.Close())
	var locked *pidfile.LockedError
	if f, err := pidfile.Acquire(path); !errors.As(err, &locked) {
		t.Fatalf("Acquire = %v, %v after the first sharer's Close; want a LockedError", f, err)
	}
	check(t, successor.WritePID())
	wantPID(t, path, os.Getpid())
	check(t, successor.Close())
	wantFree(t, path)
	own(t, path)
}

func TestAdoptRefuses(t *testing.T) {
	t.Parallel()
	path, other := temp(t), temp(t)
	open := func(path string) *os.File {
		f, err := os.OpenFile(pidfile.LockPath(path), os.O_RDWR|os.O_CREATE, 0o600)
		check(t, err)
		return f
	}
	refuse := func(what string, lock *os.File) {
		t.Helper()
		f, err := pidfile.Adopt(path, lock)
		if _, ok := err.(*fs.PathError); !ok || f != nil {
			t.Errorf("%s: Adopt = %v, %v; want a PathError", what, f, err)
		}
		if lock != nil && !errors.Is(lock.Close(), fs.ErrClosed) {
			t.Errorf("%s: not closed", what)
		}
	}
	refuse("nil", nil)
	refuse("no lock file", open(other))
	refuse("unlocked", open(path))
	wantPID(t, path, 0) // and Adopt did not lock it
	refuse("another's lock file", share(t, own(t, other)))
	f := own(t, path)
	refuse("locked through another descriptor", open(path))
	lock := share(t, f)
	check(t, os.Remove(pidfile.LockPath(path)))
	refuse("unlinked", lock)
	check(t, os.WriteFile(pidfile.LockPath(path), nil, 0o600))
	refuse("replaced", share(t, f))
}

// TestHandOver passes the lock through 24 generations, each of which gives up its share as
// soon as the next has been started, while intruders try to take it.
func TestHandOver(t *testing.T) {
	t.Parallel()
	path := temp(t)
	cmd := command("generation", path)
	cmd.Env = append(cmd.Env, "PIDFILE_LEFT=23")
	p := start(t, cmd)
	p.line() // the first generation holds it

	stop := make(chan struct{})
	var intruders sync.WaitGroup
	var tries [2]int
	for i := range tries {
		intruders.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				var locked *pidfile.LockedError
				if f, err := pidfile.Acquire(path); !errors.As(err, &locked) {
					t.Errorf("intruder: %v, %v", f, err)
					return
				}
				tries[i]++
			}
		})
	}
	last := 0
	for range 23 {
		last = atoi(t, p.line())
	}
	wantPID(t, path, last)
	close(stop)
	intruders.Wait()
	t.Logf("%d tries", tries[0]+tries[1])

	p.end()
	own(t, path) // all generations are gone
}

// generation says its pid once it owns the file, starts the next one, and closes its share
// at once.
func generation(path string, in *bufio.Scanner) {
	left, f, err := 0, (*pidfile.File)(nil), error(nil)
	fmt.Sscan(os.Getenv("PIDFILE_LEFT"), &left)
	if os.Getenv("PIDFILE_INHERITED") == "" {
		f, err = pidfile.Acquire(path)
	} else {
		f, err = pidfile.Adopt(path, os.NewFile(3, "lock"))
	}
	must(err)
	must(f.WritePID())
	fmt.Println(os.Getpid())
	if left == 0 {
		in.Scan()
		return
	}
	conn, err := f.SyscallConn()
	must(err)
	lock, err := dup(conn)
	must(err)
	next := command("generation", path)
	next.Env = append(next.Env, "PIDFILE_INHERITED=1", fmt.Sprint("PIDFILE_LEFT=", left-1))
	next.Stdin, next.Stdout, next.ExtraFiles = os.Stdin, os.Stdout, []*os.File{lock}
	must(next.Start())
	must(lock.Close())
	must(f.Close())
	must(next.Wait())
}

func TestClosed(t *testing.T) {
	t.Parallel()
	f := own(t, temp(t))
	check(t, f.Close())
	check(t, f.Close())
	for _, f := range []*pidfile.File{f, {}} {
		check(t, f.Close())
		_, err := f.SyscallConn()
		for _, err := range []error{err, f.Prepare(), f.WritePID(), f.Remove()} {
			if _, ok := err.(*fs.PathError); !ok || !errors.Is(err, fs.ErrClosed) {
				t.Errorf("%v, want a PathError with ErrClosed", err)
			}
		}
	}
}

// TestNoLeaks counts descriptors, in a process of its own.
func TestNoLeaks(t *testing.T) {
	t.Parallel()
	start(t, command("leaks", temp(t))).expect("ok")
}

func leaks(path string, _ *bufio.Scanner) {
	use := func() {
		f, err := pidfile.Acquire(path)
		must(err)
		must(f.WritePID())
		_, err = pidfile.Read(path)
		must(err)
		must(pidfile.Signal(path, 0))
		if _, err := pidfile.Acquire(path); err == nil {
			must(errors.New("acquired twice"))
		}
		unlocked, err := os.Open(pidfile.LockPath(path))
		must(err)
		if _, err := pidfile.Adopt(path, unlocked); err == nil {
			must(errors.New("adopted an unlocked descriptor"))
		}
		must(f.Remove())
		must(f.Close())
	}
	count := func() int {
		entries, err := os.ReadDir("/dev/fd")
		must(err)
		return len(entries)
	}
	use()
	before := count()
	for range 20 {
		use()
	}
	if after := count(); after != before {
		must(fmt.Errorf("%d descriptors became %d", before, after))
	}
	fmt.Println("ok")
}
