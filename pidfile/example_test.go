//go:build unix

package pidfile_test

import (
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/gracerun/grace/pidfile"
)

func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "hello.pid")

	f, err := pidfile.Acquire(path)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	if err := f.WritePID(); err != nil {
		log.Fatal(err)
	}
	pid, err := pidfile.Read(path)
	fmt.Println(pid == os.Getpid(), err)

	if err := f.Remove(); err != nil {
		log.Fatal(err)
	}
	f.Close()
	pid, err = pidfile.Read(path)
	fmt.Println(pid, err)
	// Output:
	// true <nil>
	// 0 <nil>
}

func ExampleAcquire() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "hello.pid")

	f, err := pidfile.Acquire(path)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	if err := f.WritePID(); err != nil {
		log.Fatal(err)
	}

	_, err = pidfile.Acquire(path)
	var locked *pidfile.LockedError
	if errors.As(err, &locked) {
		fmt.Println("already running, and it is us:", locked.PID == os.Getpid())
	}
	// Output: already running, and it is us: true
}

func ExampleSignal() {
	err := pidfile.Signal("/nonexistent/hello.pid", 0)
	fmt.Println(errors.Is(err, pidfile.ErrNotRunning))
	fmt.Println(err)
	// Output:
	// true
	// signal /nonexistent/hello.pid: not running: nobody holds its lock
}
