package handoff

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/gracerun/internal/handoff/early"
)

// TestAnchorLine pins what a generation says on the line: the anchor may be of a build
// that is years old. Who says it is for the kernel to tell.
func TestAnchorLine(t *testing.T) {
	t.Parallel()
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	check(t, err)
	defer unix.Close(p[0])
	check(t, unix.SetsockoptInt(p[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1))
	line := newAnchorLine(p[1])
	if pid := line.pid(); pid != os.Getpid() {
		t.Errorf("process %d made the line, not this one", pid)
	}
	for what, want := range map[byte]string{early.AnchorComing: "GRUNc", early.AnchorMain: "GRUNm"} {
		line.say(what)
		text, oob := make([]byte, 64), make([]byte, 64)
		n, oobn, _, _, err := unix.Recvmsg(p[0], text, oob, 0)
		check(t, err)
		msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
		check(t, err)
		cred, err := unix.ParseUnixCredentials(&msgs[0])
		check(t, err)
		if string(text[:n]) != want || int(cred.Pid) != os.Getpid() {
			t.Errorf("%d says %q, want %q of this process", cred.Pid, text[:n], want)
		}
	}
	var none *anchorLine
	none.say(early.AnchorMain)
	none.close()
	line.close()
	if n, err := unix.Read(p[0], make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("after the last generation the line has %d bytes, %v", n, err)
	}
}

// TestUnanchored: a generation hears of the death of the anchor, which says nothing.
func TestUnanchored(t *testing.T) {
	t.Parallel()
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	check(t, err)
	s := &Self{events: make(chan any), closed: make(chan struct{}), exit: make(chan struct{})}
	s.holdOn(newAnchorLine(p[1]))
	unix.Close(p[0])
	if ev, ok := (<-s.Events()).(Unanchored); !ok {
		t.Errorf("the event is %T", ev)
	}
	s.Close()
}
