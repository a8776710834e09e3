package handoff

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/listener"
)

// maxFiles is how many descriptors the kernel takes in one message
// (SCM_MAX_FD in unix(7)).
const maxFiles = 253

// A channel is one end of a SOCK_SEQPACKET pair: one packet is one message.
type channel struct {
	conn *net.UnixConn
	mu   sync.Mutex // of writers: a frame and its descriptors go out in order
	buf  []byte     // of the one reader
	oob  []byte
}

// newPair returns our end as a channel and the child's end as a file.
func newPair() (*channel, *os.File, error) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(p[1]), "channel")
	ours, err := newChannel(os.NewFile(uintptr(p[0]), "channel"))
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// newChannel takes f over.
func newChannel(f *os.File) (*channel, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("channel is a %T, not a unix socket", c)
	}
	return &channel{conn: u}, nil
}

// tell sends a message that may be lost: to a peer that reads no more it is of
// no use, and the sender must not wait for it.
func (c *channel) tell(m message) {
	frame, err := encode(m)
	if err != nil {
		return
	}
	rc, err := c.conn.SyscallConn()
	if err != nil {
		return
	}
	rc.Control(func(fd uintptr) {
		unix.Sendmsg(int(fd), frame, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	})
}

// sendFiles sends m with the descriptors of conns, without a dup of any.
// wait says what to do when the queue is full: wait, or return EAGAIN.
func (c *channel) sendFiles(m message, conns []syscall.Conn, wait bool) error {
	frame, err := encode(m)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return listener.Control(conns, func(fds []int) error {
		oob := unix.UnixRights(fds...)
		if wait {
			_, _, err := c.conn.WriteMsgUnix(frame, oob, nil)
			return err
		}
		rc, err := c.conn.SyscallConn()
		if err != nil {
			return err
		}
		var sendErr error
		err = rc.Control(func(fd uintptr) {
			sendErr = unix.Sendmsg(int(fd), frame, oob, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		})
		return errors.Join(err, os.NewSyscallError("sendmsg", sendErr))
	})
}

// errNoFrame reports a packet that recv could not read whole.
var errNoFrame = errors.New("message was cut: it or its descriptors did not fit")

// recv waits for the next message. The descriptors are close-on-exec and the
// caller's to close; they are no files yet, since an os.File of a socket costs
// a registration with the poller. A packet that cannot be read is an error; what it
// carried is closed.
func (c *channel) recv() (message, []int, error) {
	if c.buf == nil {
		c.buf = make([]byte, maxFrame)
		c.oob = make([]byte, unix.CmsgSpace(maxFiles*4))
	}
	n, oobn, flags, _, err := c.conn.ReadMsgUnix(c.buf, c.oob)
	if errors.Is(err, unix.ECONNRESET) {
		// It says, once, that the other side went and left messages of ours
		// unread. What it had sent is all there.
		n, oobn, flags, _, err = c.conn.ReadMsgUnix(c.buf, c.oob)
	}
	if err != nil {
		return message{}, nil, err
	}
	return parsePacket(c.buf[:n], c.oob[:oobn], flags)
}

// read calls f with each message until f returns false, the other side is closed
// or stopReading is called. A packet that cannot be read is passed over.
func (c *channel) read(f func(message) bool) {
	for {
		m, fds, err := c.recv()
		closeFDs(fds)
		var op *net.OpError
		switch {
		case errors.As(err, &op):
			return
		case err == nil && !f(m):
			return
		}
	}
}

// readQueued calls f with each message that waits already. Nobody else may read.
func (c *channel) readQueued(f func(message)) {
	rc, err := c.conn.SyscallConn()
	if err != nil {
		return
	}
	rc.Control(func(fd uintptr) { discard(int(fd), f) })
}

// discard empties the queue of a socket and closes the descriptors that are in
// it. f may be nil.
func discard(fd int, f func(message)) {
	for {
		m, fds, err := recvNow(fd)
		closeFDs(fds)
		var sys *os.SyscallError
		if errors.As(err, &sys) && !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.EINTR) {
			return
		}
		if err == nil && f != nil {
			f(m)
		}
	}
}

func recvNow(fd int) (message, []int, error) {
	buf, oob := make([]byte, maxFrame), make([]byte, unix.CmsgSpace(maxFiles*4))
	n, oobn, flags, _, err := unix.Recvmsg(fd, buf, oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err == nil && n == 0 {
		err = unix.EPIPE
	}
	if err != nil {
		return message{}, nil, os.NewSyscallError("recvmsg", err)
	}
	return parsePacket(buf[:n], oob[:oobn], flags)
}

func parsePacket(frame, oob []byte, flags int) (message, []int, error) {
	fds, err := parseRights(oob)
	var m message
	if err == nil && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = errNoFrame
	}
	if err == nil {
		m, err = decode(frame)
	}
	if err == nil && len(m.Items) != len(fds) {
		err = fmt.Errorf("%s message names %d descriptors and carries %d", m.Type, len(m.Items), len(fds))
	}
	if err != nil {
		closeFDs(fds)
		return message{}, nil, err
	}
	return m, fds, nil
}

func parseRights(oob []byte) ([]int, error) {
	var all []int
	cmsgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	for _, c := range cmsgs {
		fds, err := unix.ParseUnixRights(&c)
		if err != nil {
			continue // some other control message
		}
		all = append(all, fds...)
	}
	return all, nil
}

// stopReading ends a recv that waits, and those to come.
func (c *channel) stopReading() { c.conn.SetReadDeadline(time.Unix(1, 0)) }

// startReading undoes stopReading.
func (c *channel) startReading() { c.conn.SetReadDeadline(time.Time{}) }

func (c *channel) SyscallConn() (syscall.RawConn, error) { return c.conn.SyscallConn() }

func (c *channel) close() error { return c.conn.Close() }

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

func closeFDs(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
