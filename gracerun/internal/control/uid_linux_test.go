package control_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun/internal/control"
)

const nobody = 65534

// helper makes this process another user's client or server, if it is one.
func helper() {
	if path := os.Getenv("CONTROL_TEST_ASK"); path != "" {
		os.Exit(askAll(path))
	}
	if path := os.Getenv("CONTROL_TEST_SERVE"); path != "" {
		os.Exit(serveAs(path))
	}
}

// asNobody lets this test binary play a client, or a server, of another user.
func asNobody(t *testing.T, env ...string) *exec.Cmd {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can be two users")
	}
	// The binary is where others may not go: it is run by its descriptor.
	self, err := os.Open("/proc/self/exe")
	check(t, err)
	t.Cleanup(func() { self.Close() })
	cmd := exec.CommandContext(t.Context(), "/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{self}
	cmd.Env = append(os.Environ(), env...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// askAll asks a service for everything, and prints the answers.
func askAll(path string) int {
	c, ctx := control.NewClient(path), context.Background()
	_, status := c.Status(ctx)
	_, upgrade := c.Upgrade(ctx, nil)
	for _, err := range []error{status, upgrade, c.AskUpgrade(ctx), c.Reload(ctx), c.Stop(ctx), c.Reopen(ctx)} {
		var s *control.StatusError
		fmt.Println(errors.As(err, &s) && s.Code == http.StatusForbidden, errors.Is(err, fs.ErrPermission), err)
	}
	return 0
}

// TestOtherUser: a client of another user gets nothing, even where the mode of
// the socket would let it in, and the log says who it was.
func TestOtherUser(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "control") // t.TempDir's parent is closed to others
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	check(t, os.Chmod(dir, 0o755))
	f := newFake()
	f.upgrade = func(context.Context, func(control.Event)) error { t.Error("an upgrade"); return nil }
	f.reload = func(context.Context) error { t.Error("a reload"); return nil }
	f.reopen = func() error { t.Error("logs were opened"); return nil }
	path := filepath.Join(dir, "hello.sock")
	s := openAt(t, f, path)
	check(t, os.Chmod(path, 0o666))

	out, err := asNobody(t, "CONTROL_TEST_ASK="+path).CombinedOutput()
	check(t, err)
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != 6 {
		t.Fatalf("the client printed:\n%s", out)
	}
	for _, line := range lines {
		if line != "true true only the user of the service and root may use the control socket" {
			t.Errorf("an answer: %s", line)
		}
	}
	select {
	case why := <-f.stopped:
		t.Errorf("stopped: %s", why)
	default:
	}
	for _, want := range []string{"level=WARN", "another user", fmt.Sprintf("uid=%d", nobody), "pid="} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("%q is not in the log:\n%s", want, s.log)
		}
	}
}

// serveAs listens where it is told to, answers nothing, and ends with its stdin.
func serveAs(path string) int {
	ln, err := net.Listen("unix", path)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer ln.Close()
	fmt.Println("listening")
	bufio.NewReader(os.Stdin).ReadByte()
	return 0
}

// TestOtherServer: a client talks to root, to its own user, and to the owner of
// the run directory; not to one who could only put a socket there.
func TestOtherServer(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "control")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	check(t, os.Chmod(dir, 0o777))
	path := filepath.Join(dir, "hello.sock")

	cmd := asNobody(t, "CONTROL_TEST_SERVE="+path)
	stdin, err := cmd.StdinPipe()
	check(t, err)
	stdout, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() { stdin.Close(); cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if line != "listening\n" {
		t.Fatalf("the server said %q, %v", line, err)
	}

	ask := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := control.NewClient(path).Status(ctx)
		return err
	}
	if err := ask(); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), path) {
		t.Errorf("a server that does not own the directory: %v", err)
	}
	// The owner: the connection is made, and the call ends with its context.
	check(t, os.Chown(dir, nobody, -1))
	if err := ask(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a server that owns the directory and does not answer: %v", err)
	}
}
