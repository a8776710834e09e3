package listener_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/gracerun/grace/listener"
	"golang.org/x/sys/unix"
)

func helpers() map[string]helper {
	return map[string]helper{"successor": successorMain, "leak": leakMain}
}

// helperCommand returns a command that runs the helper with a limit on its life.
func helperCommand(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), "LISTENER_TEST_HELPER="+name)
	cmd.Stderr = os.Stderr
	return cmd
}

// send passes everything in the Set through a socket.
func send(c *net.UnixConn, s *listener.Set) error {
	handles, conns := s.Handles()
	msg, err := json.Marshal(handles)
	if err != nil {
		return err
	}
	return listener.Control(conns, func(fds []int) error {
		_, _, err := c.WriteMsgUnix(msg, unix.UnixRights(fds...), nil)
		return err
	})
}

// receive is the other side of send.
func receive(c *net.UnixConn) (*listener.Set, []listener.Handle, error) {
	msg, oob := make([]byte, 1<<16), make([]byte, unix.CmsgSpace(253*4))
	n, oobn, _, _, err := c.ReadMsgUnix(msg, oob) // sets close-on-exec
	if err != nil {
		return nil, nil, err
	}
	var handles []listener.Handle
	if err := json.Unmarshal(msg[:n], &handles); err != nil {
		return nil, nil, err
	}
	scms, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return nil, nil, err
	}
	fds, err := unix.ParseUnixRights(&scms[0])
	if err != nil {
		return nil, nil, err
	}
	return listener.Inherit(handles, fds), handles, nil
}

// successorMain adopts what arrives on descriptor 3, and commits, accepts and
// ends at the word of its parent. It answers each connection with its pid.
func successorMain() int {
	if err := runSuccessor(); err != nil {
		fmt.Fprintln(os.Stderr, "successor:", err)
		return 1
	}
	return 0
}

func runSuccessor() error {
	c, err := net.FileConn(os.NewFile(3, "channel"))
	if err != nil {
		return err
	}
	set, handles, err := receive(c.(*net.UnixConn))
	if err != nil {
		return err
	}
	var listeners []net.Listener
	for _, h := range handles {
		ln, err := set.Listen(context.Background(), h.Network, h.Address)
		if err != nil {
			return err
		}
		listeners = append(listeners, ln)
	}
	fmt.Println("adopted")
	if err := obey(set, listeners); err != nil {
		return err
	}
	return set.Close()
}

// obey does what the parent says until it says no more.
func obey(set *listener.Set, listeners []net.Listener) error {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		switch in.Text() {
		case "commit":
			if err := set.CloseUnused(); err != nil {
				return err
			}
		case "accept":
			for _, ln := range listeners {
				go answer(ln)
			}
		}
		fmt.Println("done")
	}
	return in.Err()
}

func answer(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		fmt.Fprint(c, os.Getpid())
		c.Close()
	}
}

// A child is a successor process.
type child struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startSuccessor(t *testing.T, s *listener.Set) *child {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	defer ours.Close()
	defer theirs.Close()
	channel, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	defer channel.Close()
	if err := send(channel.(*net.UnixConn), s); err != nil {
		t.Fatal(err)
	}
	c := &child{Cmd: helperCommand(t, "successor")}
	c.ExtraFiles = []*os.File{theirs}
	if c.in, err = c.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewReader(out)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	c.expect(t, "adopted")
	return c
}

func (c *child) expect(t *testing.T, want string) {
	t.Helper()
	if line, err := c.out.ReadString('\n'); err != nil || line != want+"\n" {
		t.Fatalf("the successor says %q, %v; want %q", line, err, want)
	}
}

func (c *child) tell(t *testing.T, word string) {
	t.Helper()
	if _, err := fmt.Fprintln(c.in, word); err != nil {
		t.Fatal(err)
	}
	c.expect(t, "done")
}

func (c *child) end(t *testing.T) {
	t.Helper()
	c.in.Close()
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
}

// TestQueueSurvives fills the accept queues of a process that never accepts, and
// has it close its listeners.
func TestQueueSurvives(t *testing.T) {
	t.Parallel()
	const queued = 100 // on each of two listeners
	path := filepath.Join(shortDir(t), "s")
	first := newSet(t)
	tcp, _ := mustOpen(t, first, "tcp", "127.0.0.1:0")
	local, _ := mustOpen(t, first, "unix", path)
	next := startSuccessor(t, first)
	var clients []net.Conn
	for range queued {
		clients = append(clients, dial(t, tcp), dial(t, local))
	}
	next.tell(t, "commit")
	first.Release()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	next.tell(t, "accept")
	want := strconv.Itoa(next.Process.Pid)
	lost := 0
	for _, c := range clients {
		if got, err := io.ReadAll(c); err != nil || string(got) != want {
			lost++
			t.Logf("answer %q, %v", got, err)
		}
	}
	if lost > 0 || len(clients) != 2*queued {
		t.Errorf("lost %d of %d queued connections", lost, len(clients))
	}
	if !exists(path) {
		t.Error("the predecessor removed the file")
	}
	next.end(t)
	if exists(path) {
		t.Error("the successor left the file")
	}
}

func dial(t *testing.T, addr net.Addr) net.Conn {
	t.Helper()
	c, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestPeerCredentials(t *testing.T) {
	t.Parallel()
	path := filepath.Join(shortDir(t), "s")
	first := newSet(t)
	mustOpen(t, first, "unix", path)
	next := startSuccessor(t, first)
	if got := peerPID(t, path); got != os.Getpid() {
		t.Errorf("before the commit the peer is %d, want the predecessor, %d", got, os.Getpid())
	}
	next.tell(t, "commit")
	if got := peerPID(t, path); got != next.Process.Pid {
		t.Errorf("after the commit the peer is %d, want the successor, %d", got, next.Process.Pid)
	}
	first.Release()
	next.end(t)
}

func peerPID(t *testing.T, path string) int {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	pid := 0
	err = listener.Control([]syscall.Conn{c.(*net.UnixConn)}, func(fds []int) error {
		cred, err := unix.GetsockoptUcred(fds[0], unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err == nil {
			pid = int(cred.Pid)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// TestNoLeak runs in a process of its own, where nobody else opens descriptors.
func TestNoLeak(t *testing.T) {
	t.Parallel()
	if out, err := helperCommand(t, "leak").Output(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func leakMain() int {
	dir, err := os.MkdirTemp("", "ln")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := useAndFail(dir, nil); err != nil { // the poller opens its own descriptors
		fmt.Println(err)
		return 1
	}
	before := descriptors()
	var during map[int]bool
	err = useAndFail(dir, func() { during = descriptors() })
	after := descriptors()
	if err != nil || len(during) <= len(before) || !maps.Equal(before, after) {
		fmt.Println("before:", before, "during:", during, "after:", after, err)
		return 1
	}
	for fd, closeOnExec := range during {
		if _, old := before[fd]; !old && !closeOnExec {
			fmt.Println("descriptor", fd, "is not close-on-exec")
			return 1
		}
	}
	return 0
}

// useAndFail goes through the calls that open descriptors, and through their
// failures, and calls check while all are open.
func useAndFail(dir string, check func()) error {
	first := new(listener.Set)
	defer first.Close()
	ctx := context.Background()
	path := filepath.Join(dir, "s")
	ln, err := first.Listen(ctx, "unix", path)
	if err != nil {
		return err
	}
	tcp, err := first.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := first.Add("in", os.Stdin); err != nil {
		return err
	}
	handles, conns := first.Handles()
	second := listener.Inherit(handles, mustDup(conns))
	defer second.Close()
	dropped := listener.Inherit(handles, mustDup(conns))
	dropped.Listen(ctx, "tcp", "127.0.0.1:0")
	if err := failToOpen(first, second, path, tcp.Addr().String()); err != nil {
		return err
	}
	f, err := second.File("in")
	if err != nil {
		return err
	}
	f.Close()
	if check != nil {
		check()
	}
	if err := dropped.Close(); err != nil {
		return err
	}
	ln.Close()
	return second.Close()
}

// failToOpen asks for addresses that are in use or bad.
func failToOpen(first, second *listener.Set, path, tcp string) error {
	ctx := context.Background()
	for _, a := range []struct{ network, address string }{
		{"unix", path}, {"unix", filepath.Dir(path)}, {"unix", "/no/such/dir/s"}, {"unixpacket", path},
		{"tcp", tcp}, {"tcp4", "127.0.0.1:no-such-service"}, {"bad", ":0"},
	} {
		if _, err := first.Listen(ctx, a.network, a.address); err == nil {
			return fmt.Errorf("%v opened although in use or bad", a)
		}
		second.Listen(ctx, a.network, a.address) // adopts where it can
	}
	return nil
}

func mustDup(conns []syscall.Conn) (dups []int) {
	err := listener.Control(conns, func(fds []int) error {
		for _, fd := range fds {
			d, err := unix.Dup(fd) // not close-on-exec: Inherit sees to that
			if err != nil {
				return err
			}
			dups = append(dups, d)
		}
		return nil
	})
	if err != nil {
		panic(err)
	}
	return dups
}

// descriptors returns the open descriptors, and which of them are close-on-exec.
func descriptors() map[int]bool {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	open := make(map[int]bool)
	for _, e := range entries {
		fd, _ := strconv.Atoi(e.Name())
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil { // else it was ReadDir's own
			open[fd] = flags&unix.FD_CLOEXEC != 0
		}
	}
	return open
}
