//go:build unix

package pidfile_test

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/gracerun/grace/pidfile"
)

func TestWritePID(t *testing.T) {
	t.Parallel()
	path := temp(t)
	f := own(t, path)
	write(t, path, "4194000\n") // stale
	check(t, f.WritePID())
	got, err := os.ReadFile(path)
	check(t, err)
	if want := fmt.Sprintln(os.Getpid()); string(got) != want {
		t.Errorf("content %q, want %q", got, want)
	}
	wantFiles(t, path, "x.lock", "x.pid")
	check(t, f.Remove())
	check(t, f.Remove())
	wantFiles(t, path, "x.lock")
}

// TestReadersSeeNoPart reads the file, as other programs do, while it is written again and again.
func TestReadersSeeNoPart(t *testing.T) {
	t.Parallel()
	path := temp(t)
	f := own(t, path)
	check(t, f.WritePID())
	want := fmt.Sprintln(os.Getpid())
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if got, err := os.ReadFile(path); err != nil || string(got) != want {
					t.Errorf("read %q, %v", got, err)
					return
				}
				wantPID(t, path, os.Getpid())
			}
		})
	}
	for range 2000 {
		check(t, f.WritePID())
	}
	close(done)
	readers.Wait()
}

func TestPrepare(t *testing.T) {
	t.Parallel()
	path := temp(t)
	f := own(t, path)
	check(t, f.Prepare())
	check(t, f.Prepare())
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the pid file is there before WritePID: %v", err)
	}
	prepared, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".x.pid.*"))
	check(t, err)
	if len(prepared) != 1 {
		t.Fatalf("prepared %q, want one file", prepared)
	}
	before, err := os.Stat(prepared[0])
	check(t, err)
	check(t, f.WritePID())
	after, err := os.Stat(path)
	check(t, err)
	if !os.SameFile(before, after) {
		t.Error("WritePID did not use the prepared file")
	}
	check(t, f.Prepare())
	check(t, f.Remove())
	wantFiles(t, path, "x.lock")
	check(t, f.Prepare())
	check(t, f.Close())
	wantFiles(t, path, "x.lock")
}

// TestSweep deletes what a dead process prepared, and nothing that somebody may still want.
func TestSweep(t *testing.T) {
	t.Parallel()
	path := temp(t)
	f := own(t, path)
	check(t, f.Prepare())
	dead := exec.Command("true")
	check(t, dead.Run())
	name := func(pid int) string { return fmt.Sprintf(".x.pid.%d.new", pid) }
	for _, pid := range []int{dead.Process.Pid, os.Getppid()} {
		write(t, filepath.Join(filepath.Dir(path), name(pid)), fmt.Sprintln(pid))
	}
	f.Sweep()
	want := []string{name(os.Getpid()), name(os.Getppid()), "x.lock"}
	slices.Sort(want)
	wantFiles(t, path, want...)
}

// TestWriteFails shows that nothing is left behind, and that a new attempt can succeed.
func TestWriteFails(t *testing.T) {
	t.Parallel()
	path := temp(t)
	f := own(t, path)
	check(t, f.Prepare())
	check(t, os.Mkdir(path, 0o755))
	if err := f.WritePID(); err == nil {
		t.Error("WritePID replaced a directory")
	}
	wantFiles(t, path, "x.lock", "x.pid")
	check(t, os.Remove(path))
	check(t, f.WritePID())
	wantPID(t, path, os.Getpid())

	check(t, os.RemoveAll(filepath.Dir(path)))
	for _, err := range []error{f.Prepare(), f.WritePID()} {
		if pathErr, ok := err.(*fs.PathError); !ok || filepath.Dir(pathErr.Path) != filepath.Dir(path) {
			t.Errorf("%v, want a PathError", err)
		}
	}
}

func TestRemoveLeavesAnothers(t *testing.T) {
	t.Parallel()
	path := temp(t)
	f := own(t, path)
	for _, content := range []string{"1\n", fmt.Sprintln(os.Getppid()), "", "junk"} {
		write(t, path, content)
		f.Remove() // an error for what cannot be read as a pid
		if got, err := os.ReadFile(path); err != nil || string(got) != content {
			t.Errorf("%q became %q, %v", content, got, err)
		}
	}
}

// TestRemoveAgainstSuccessor removes the old generation's file at the very moment at which
// the new one writes its own.
func TestRemoveAgainstSuccessor(t *testing.T) {
	t.Parallel()
	path := temp(t)
	f := own(t, path)
	cmd := command("successor", path)
	lock := share(t, f)
	defer lock.Close()
	cmd.ExtraFiles = []*os.File{lock}
	p := start(t, cmd)
	want := fmt.Sprintln(p.cmd.Process.Pid)
	for range 1000 {
		p.expect("prepared")
		check(t, f.WritePID())
		p.send("commit")
		check(t, f.Remove())
		p.expect("written")
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Fatalf("the successor's file is %q, %v", got, err)
		}
	}
	p.end()
	wantFiles(t, path, "x.lock", "x.pid")
}

func successor(path string, in *bufio.Scanner) {
	f, err := pidfile.Adopt(path, os.NewFile(3, "lock"))
	must(err)
	for {
		must(f.Prepare())
		fmt.Println("prepared")
		if !in.Scan() {
			must(f.Close())
			return
		}
		must(f.WritePID())
		fmt.Println("written")
	}
}
