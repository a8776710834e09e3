package daemon_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/gracerun/grace/gracerun/internal/daemon"
)

func playForeground() error {
	if os.Getenv("T_EXEC_PID") == "own" {
		os.Setenv("SYSTEMD_EXEC_PID", strconv.Itoa(os.Getpid()))
	}
	answer("%s", daemon.Foreground())
	return nil
}

func TestForeground(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		env  string
		want string // part of the reason, "" to detach
	}{
		{"from a shell", "", ""},
		{"by systemd", "T_EXEC_PID=own", "systemd"},
		{"below a service of systemd", "SYSTEMD_EXEC_PID=1", ""},
		{"by a service manager", "NOTIFY_SOCKET=/run/x", "NOTIFY_SOCKET"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			expect(t, helper(t, "foreground", "NOTIFY_SOCKET=", "SYSTEMD_EXEC_PID=", tt.env), tt.want)
		})
	}
}

func expect(t *testing.T, cmd *exec.Cmd, want string) {
	t.Helper()
	got := strings.TrimSpace(ask(t, cmd))
	if (want == "") != (got == "") || !strings.Contains(got, want) {
		t.Errorf("the reason is %q, want %q", got, want)
	}
}

func TestForegroundAsFirstProcess(t *testing.T) {
	t.Parallel()
	root(t)
	cmd := helper(t, "foreground")
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID
	expect(t, cmd, "first process")
}

// TestForegroundBySuperServer: inetd gives the connection, or the listener, as
// standard input.
func TestForegroundBySuperServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, where := range []struct{ network, address string }{
		{"tcp4", "127.0.0.1:0"}, {"tcp6", "[::1]:0"}, {"unix", filepath.Join(dir, "s")},
	} {
		ln, err := net.Listen(where.network, where.address)
		if err != nil {
			if where.network == "tcp6" {
				t.Logf("no IPv6 here: %v", err)
				continue
			}
			t.Fatal(err)
		}
		defer ln.Close()
		client, err := net.Dial(where.network, ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, socket := range []any{ln, conn} {
			f, err := socket.(interface{ File() (*os.File, error) }).File()
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			cmd := helper(t, "foreground")
			cmd.Stdin = f
			expect(t, cmd, "inetd")
		}
	}
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0") // "dgram wait"
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	f, err := udp.(*net.UDPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := helper(t, "foreground")
	cmd.Stdin = f
	expect(t, cmd, "inetd")
}

// TestPairIsNoSuperServer: ssh runs a command with one as standard input.
func TestPairIsNoSuperServer(t *testing.T) {
	t.Parallel()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs, ours := os.NewFile(uintptr(fds[0]), "pair"), os.NewFile(uintptr(fds[1]), "pair")
	defer theirs.Close()
	defer ours.Close()
	cmd := helper(t, "foreground")
	cmd.Stdin = theirs
	expect(t, cmd, "")
}
