//go:build unix

package pidfile_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/pidfile"
)

// The test binary plays the other processes too: PIDFILE_HELPER names the part.
func TestMain(m *testing.M) {
	name := os.Getenv("PIDFILE_HELPER")
	if name == "" {
		os.Exit(m.Run())
	}
	if os.Getenv("PIDFILE_NOBODY") != "" {
		must(syscall.Setgroups(nil))
		must(syscall.Setgid(nobody))
		must(syscall.Setuid(nobody))
	}
	parts := map[string]func(path string, in *bufio.Scanner){
		"hold": hold, "race": race, "churn": churn, "generation": generation, "successor": successor,
		"read": read, "acquire": acquire, "modes": modes, "relative": relative, "leaks": leaks, "inherit": inherit, "held": held,
	}
	parts[name](os.Getenv("PIDFILE_PATH"), bufio.NewScanner(os.Stdin))
}

// nobody is the unprivileged user of tests that run as root.
const nobody = 65534

// must ends a helper, whose stderr is the test's, or lets it go on.
func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, os.Getenv("PIDFILE_HELPER")+":", err)
		os.Exit(1)
	}
}

// A process is a running helper: lines in, lines out. It ends when its input does.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Scanner
	done bool
}

func command(name, path string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PIDFILE_HELPER="+name, "PIDFILE_PATH="+path, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	return cmd
}

func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	in, err := cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	p := &process{t: t, cmd: cmd, in: in, out: bufio.NewScanner(out)}
	t.Cleanup(p.end)
	return p
}

// end lets the helper finish, or finds out that a test has killed it.
func (p *process) end() {
	if p.done {
		return
	}
	p.done = true
	p.in.Close()
	for p.out.Scan() {
	}
	if err := p.cmd.Wait(); err != nil && !strings.Contains(err.Error(), "killed") {
		p.t.Errorf("helper: %v", err)
	}
}

func (p *process) send(line string) {
	p.t.Helper()
	_, err := fmt.Fprintln(p.in, line)
	check(p.t, err)
}

func (p *process) line() string {
	p.t.Helper()
	if !p.out.Scan() {
		p.t.Fatalf("helper ended: %v", p.out.Err())
	}
	return p.out.Text()
}

func (p *process) expect(want string) {
	p.t.Helper()
	if got := p.line(); got != want {
		p.t.Fatalf("helper says %q, want %q", got, want)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// temp returns the path of a pid file in a directory that every user may search.
func temp(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	check(t, os.Chmod(filepath.Dir(dir), 0o755))
	check(t, os.Chmod(dir, 0o755))
	return filepath.Join(dir, "x.pid")
}

func own(t testing.TB, path string) *pidfile.File {
	t.Helper()
	f, err := pidfile.Acquire(path)
	check(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func write(t testing.TB, path, content string) {
	t.Helper()
	check(t, os.WriteFile(path, []byte(content), 0o644))
}

// wantPID checks what Read says.
func wantPID(t *testing.T, path string, want int) {
	t.Helper()
	if pid, err := pidfile.Read(path); pid != want || err != nil {
		t.Errorf("Read = %d, %v; want %d", pid, err, want)
	}
}

// wantFree checks that the lock which this process has closed is free: not at once,
// because a child that a parallel test is just starting may still have a copy.
func wantFree(t *testing.T, path string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		if pid, err := pidfile.Read(path); pid == 0 && err == nil {
			return
		}
	}
	t.Errorf("the lock of %s is still held", path)
}

// wantFiles checks that the directory of path holds these files and no litter.
func wantFiles(t *testing.T, path string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	check(t, err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("files are %q, want %q", got, want)
	}
}

// share returns a duplicate of f's locked descriptor, as a successor would inherit it.
func share(t testing.TB, f *pidfile.File) *os.File {
	t.Helper()
	conn, err := f.SyscallConn()
	check(t, err)
	lock, err := dup(conn)
	check(t, err)
	return lock
}

func dup(conn syscall.RawConn) (*os.File, error) {
	fd := -1
	var err error
	if cerr := conn.Control(func(old uintptr) {
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		if fd, err = syscall.Dup(int(old)); err == nil {
			syscall.CloseOnExec(fd)
		}
	}); cerr != nil {
		return nil, cerr
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "lock"), nil
}

// hold runs the service until its input ends, and then leaves a stale file.
func hold(path string, in *bufio.Scanner) {
	f, err := pidfile.Acquire(path)
	must(err)
	must(f.WritePID())
	fmt.Println("held")
	for in.Scan() {
	}
	must(f.Close())
}

func read(path string, _ *bufio.Scanner) {
	pid, err := pidfile.Read(path)
	fmt.Println(pid, err)
}

func acquire(path string, _ *bufio.Scanner) {
	_, err := pidfile.Acquire(path)
	fmt.Printf("%T %v\n", err, err)
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	check(t, err)
	return n
}
