//go:build linux

package queue_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// find returns the path of a program; the test is skipped where there is none.
func find(t *testing.T, program string, dirs ...string) string {
	t.Helper()
	if path, err := exec.LookPath(program); err == nil {
		return path
	}
	for _, pattern := range dirs {
		if found, _ := filepath.Glob(filepath.Join(pattern, program)); len(found) > 0 {
			return found[len(found)-1]
		}
	}
	t.Skipf("%s is not installed", program)
	return ""
}

// serve runs a server in dir until the test is over. It is as user there, which
// may be nil, and ends on the signal.
func serve(t *testing.T, dir string, as *syscall.Credential, end syscall.Signal, argv ...string) {
	t.Helper()
	var said bytes.Buffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &said, &said
	// A group of its own: what interrupts the test is not to end it first.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the death that Pdeathsig tells is that of the thread
		err := cmd.Start()
		if started <- err; err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(end)
		kill := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		err := <-ended
		if kill.Stop(); err != nil {
			t.Errorf("%s: %v\n%s", argv[0], err, &said)
		}
	})
}

// redisServer starts a server and returns the path of its socket.
func redisServer(t *testing.T) string {
	t.Helper()
	program := find(t, "redis-server")
	dir := t.TempDir()
	socket := filepath.Join(dir, "redis.sock")
	serve(t, dir, nil, syscall.SIGTERM, program, "--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "", "--appendonly", "no")
	return socket
}

// postgres starts a server and returns the URL of its database. It refuses to
// run as root: then it is the user that Debian makes for it.
func postgres(t *testing.T) string {
	t.Helper()
	program := find(t, "postgres", "/usr/lib/postgresql/*/bin")
	initdb := find(t, "initdb", "/usr/lib/postgresql/*/bin")
	as := unprivileged(t, "postgres")
	dir, err := os.MkdirTemp("", "postgres-") // t.TempDir lets nobody else in
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if as != nil {
		if err := os.Chown(dir, int(as.Uid), int(as.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	data := filepath.Join(dir, "data")
	cmd := exec.Command(initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
	cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Credential: as}
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	serve(t, dir, as, syscall.SIGINT, program, "-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "fsync=off")
	return fmt.Sprintf("postgres:///postgres?user=postgres&host=%s", dir)
}

// unprivileged returns nil where this process is not root.
func unprivileged(t *testing.T, name string) *syscall.Credential {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup(name)
	if unknown := user.UnknownUserError(""); errors.As(err, &unknown) {
		t.Skipf("there is no user %s", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// awaitServer waits until a server answers.
func awaitServer(t *testing.T, ping func() error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(30 * time.Second)
	for {
		err := ping()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("the server does not answer: %v", err)
		}
	}
}
