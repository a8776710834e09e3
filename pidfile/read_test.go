//go:build unix

package pidfile_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gracerun/grace/pidfile"
)

func TestReadNothingThere(t *testing.T) {
	t.Parallel()
	path := temp(t)
	wantPID(t, path, 0)
	wantPID(t, filepath.Join(path, "missing", "x.pid"), 0)
	wantFiles(t, path)
}

// TestReadStale names living processes in files whose lock nobody holds.
func TestReadStale(t *testing.T) {
	t.Parallel()
	path := temp(t)
	for _, content := range []string{fmt.Sprintln(os.Getpid()), fmt.Sprintln(os.Getppid()), "1\n", "-1\n", "junk"} {
		write(t, path, content)
		wantPID(t, path, 0)
		check(t, own(t, path).Close())
		wantFree(t, path)
		if err := pidfile.Signal(path, 0); !errors.Is(err, pidfile.ErrNotRunning) {
			t.Errorf("Signal: %v, want ErrNotRunning", err)
		}
		wantFiles(t, path, "x.lock", "x.pid") // looking changes nothing
		check(t, os.Remove(pidfile.LockPath(path)))
	}
}

func TestReadStarting(t *testing.T) {
	t.Parallel()
	path := temp(t)
	own(t, path)
	wantLocked(t, path)
}

// wantLocked checks that somebody holds the lock of path and cannot be named.
func wantLocked(t *testing.T, path string) {
	t.Helper()
	pid, err := pidfile.Read(path)
	var locked *pidfile.LockedError
	if !errors.As(err, &locked) || pid != 0 || locked.PID != 0 || locked.Path != path {
		t.Errorf("Read = %d, %v; want a LockedError without a pid", pid, err)
	}
}

func TestReadRefusesContent(t *testing.T) {
	t.Parallel()
	self := fmt.Sprint(os.Getpid())
	contents := map[string]string{
		"empty": "", "newline": "\n", "zero": "0\n", "negative": "-" + self + "\n", "minus one": "-1\n", "plus": "+" + self + "\n",
		"two": "12 34\n", "lines": self + "\n" + self + "\n", "cut": self, "leading zero": "0" + self + "\n", "space": " " + self + "\n",
		"hex": "0x10\n", "CRLF": self + "\r\n", "junk": "junk\n", "NUL": self + "\x00\n", "too large": "4194304\n",
		"overflow": "18446744073709551617\n", "1 MB": strings.Repeat("1", 1<<20) + "\n",
	}
	for _, name := range slices.Sorted(maps.Keys(contents)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := temp(t)
			own(t, path)
			write(t, path, contents[name])
			refused(t, path, func() error { _, err := pidfile.Read(path); return err })
			if err := pidfile.Signal(path, 0); err == nil {
				t.Error("Signal sent")
			}
		})
	}
}

func TestReadRefusesFile(t *testing.T) {
	t.Parallel()
	odd := oddFiles()
	for _, name := range slices.Sorted(maps.Keys(odd)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := temp(t)
			own(t, path)
			odd[name](t, path)
			refused(t, path, func() error { _, err := pidfile.Read(path); return err })
		})
	}
}

// FuzzRead writes anything into the file of a running service.
func FuzzRead(f *testing.F) {
	self := os.Getpid()
	for _, seed := range []string{fmt.Sprintln(self), fmt.Sprint(self), "", "0\n", "-1\n", "1\n", "12 34\n", "4194303\n", "4194304\n", "007\n", strings.Repeat("9", 33)} {
		f.Add([]byte(seed))
	}
	path := temp(f)
	own(f, path)
	wellFormed := regexp.MustCompile(`^[1-9][0-9]{0,6}\n$`)
	f.Fuzz(func(t *testing.T, content []byte) {
		check(t, os.WriteFile(path, content, 0o644))
		pid, err := pidfile.Read(path)
		var locked *pidfile.LockedError
		var pathErr *fs.PathError
		switch {
		case string(content) == fmt.Sprintln(self):
			if pid != self || err != nil {
				t.Errorf("%q: %d, %v", content, pid, err)
			}
		case pid != 0 || err == nil:
			t.Errorf("%q: %d, %v; want an error", content, pid, err)
		case !wellFormed.Match(content) && !errors.As(err, &pathErr):
			t.Errorf("%q: %v, want a PathError", content, err)
		case errors.As(err, &locked) == errors.As(err, &pathErr):
			t.Errorf("%q: %v, want a LockedError or a PathError", content, err)
		}
	})
}
