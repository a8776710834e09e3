package systemd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/listener"
)

// datagram sends text and the descriptors of conns to a socket. The kernel adds who
// sends. Package net has no call for it: its WriteMsgUnix refuses a connected datagram
// socket, and one that is not connected would not wait for the reader's room, but spin.
func datagram(socket, text string, conns []syscall.Conn) error {
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return listener.Control(conns, func(fds []int) error {
		var rights []byte
		if len(fds) > 0 {
			rights = unix.UnixRights(fds...)
		}
		var sent error
		err := raw.Write(func(fd uintptr) bool {
			for {
				sent = unix.Sendmsg(int(fd), []byte(text), rights, nil, unix.MSG_NOSIGNAL)
				if sent != unix.EINTR {
					return sent != unix.EAGAIN
				}
			}
		})
		return errors.Join(err, os.NewSyscallError("sendmsg", sent))
	})
}

// barrier sends the writing end of a pipe. The manager closes it when it has come so
// far, and that is the end of the reading.
func (n *Notifier) barrier(ctx context.Context) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	n.mu.Lock()
	err = n.deliver(message{"BARRIER=1"}, w) // alone: the manager refuses it with other fields
	n.mu.Unlock()
	w.Close()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { r.SetReadDeadline(time.Unix(0, 1)) })
	defer stop()
	switch _, err := r.Read(make([]byte, 1)); {
	case errors.Is(err, io.EOF):
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("the service manager has not read what it was told: %w", context.Cause(ctx))
	default:
		return fmt.Errorf("the service manager's barrier: %w", err)
	}
}

// monotonic is the clock that the manager goes by.
func monotonic() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, os.NewSyscallError("clock_gettime", err)
	}
	return time.Duration(ts.Nano()), nil
}
