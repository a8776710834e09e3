//go:build unix

package pidfile_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/gracerun/grace/pidfile"
)

func TestHeld(t *testing.T) {
	t.Parallel()
	path := temp(t)
	wantHeld(t, path, false)
	wantFiles(t, path) // asking makes no lock file
	f := own(t, path)
	wantHeld(t, path, true)
	write(t, path, "junk") // what the pid file says does not matter
	wantHeld(t, path, true)
	check(t, f.Close())
	wantFree(t, path)
	wantHeld(t, path, false)

	check(t, os.Remove(pidfile.LockPath(path)))
	check(t, os.Mkdir(pidfile.LockPath(path), 0o755))
	if held, err := pidfile.Held(path); held || err == nil {
		t.Errorf("Held = %v, %v; want an error for a directory", held, err)
	}
	if held, err := pidfile.Held(""); held || err == nil {
		t.Errorf("Held = %v, %v; want an error without a path", held, err)
	}
}

func wantHeld(t *testing.T, path string, want bool) {
	t.Helper()
	if held, err := pidfile.Held(path); held != want || err != nil {
		t.Errorf("Held = %v, %v; want %v", held, err, want)
	}
}

func TestHoldersNothingThere(t *testing.T) {
	t.Parallel()
	path := temp(t)
	for _, path := range []string{path, filepath.Join(path, "missing", "x.pid")} {
		if pids, err := pidfile.Holders(path); len(pids) > 0 || err != nil && !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("Holders = %v, %v", pids, err)
		}
	}
}

// inherit has a descriptor of somebody's lock.
func inherit(_ string, in *bufio.Scanner) {
	fmt.Println("shared")
	for in.Scan() {
	}
}

// held says what it finds out of path.
func held(path string, _ *bufio.Scanner) {
	held, err := pidfile.Held(path)
	pids, herr := pidfile.Holders(path)
	fmt.Println(held, err, pids, herr)
}
