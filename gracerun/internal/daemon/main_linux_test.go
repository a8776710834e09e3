package daemon_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gracerun/grace/test/harness"
)

// TestMain plays the other processes, too: the environment names the part.
func TestMain(m *testing.M) {
	part := os.Getenv("DAEMON_HELPER")
	if part == "" {
		os.Exit(m.Run())
	}
	os.Unsetenv("DAEMON_HELPER")
	parts := map[string]func() error{
		"foreground": playForeground,
		"logs":       playLogs,
		"prepare":    playPrepare,
		"resolve":    playResolve,
	}
	if err := parts[part](); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", part, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// nobody is a user that owns nothing and has no entry.
const nobody = 54321

// helper is the test binary in another part. Its answers come on descriptor 3.
func helper(t *testing.T, part string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), append([]string{"DAEMON_HELPER=" + part, "GORACE=atexit_sleep_ms=0"}, env...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// ask runs a helper to its end and returns its answer.
func ask(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var stderr strings.Builder
	cmd.ExtraFiles, cmd.Stderr = []*os.File{w}, &stderr
	err = cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(r)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("helper: %v\n%s", err, &stderr)
	}
	return string(text)
}

func answer(format string, args ...any) {
	syscall.Write(3, fmt.Appendf(nil, format+"\n", args...)) // an os.File would be closed when it is garbage
}

func root(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to play another user")
	}
}

// dir is a directory that every user can reach, unlike t.TempDir.
func dir(t *testing.T) string {
	t.Helper()
	d, err := os.MkdirTemp("", "daemon")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(d) })
	if err := os.Chmod(d, 0o755); err != nil {
		t.Fatal(err)
	}
	return d
}

// write makes a file, and the directories above it.
func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := harness.WriteProgram(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// owner is "uid:gid mode" of a file.
func owner(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d %#o", st.Uid, st.Gid, info.Mode().Perm())
}

// A talk is a helper that is told what to do, line by line, and answers each.
type talk struct {
	t       *testing.T
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers *bufio.Reader
}

// begin starts cmd; what it had as standard output and error stays.
func begin(t *testing.T, cmd *exec.Cmd) *talk {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	c := &talk{t: t, cmd: cmd, answers: bufio.NewReader(r)}
	if c.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{w}
	err = cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.in.Close(); cmd.Process.Kill(); cmd.Wait() })
	return c
}

// do has the helper do something, and returns its answer.
func (c *talk) do(format string, args ...any) string {
	c.t.Helper()
	c.say(format, args...)
	line, err := c.answers.ReadString('\n')
	if err != nil {
		c.t.Fatalf("%s: no answer: %v", fmt.Sprintf(format, args...), err)
	}
	return strings.TrimSuffix(line, "\n")
}

func (c *talk) say(format string, args ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.in, format+"\n", args...); err != nil {
		c.t.Fatal(err)
	}
}

// ok is do for what must succeed.
func (c *talk) ok(format string, args ...any) {
	c.t.Helper()
	if got := c.do(format, args...); got != "ok" {
		c.t.Fatalf("%s: %s", fmt.Sprintf(format, args...), got)
	}
}
