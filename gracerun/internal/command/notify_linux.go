package command

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A notifySock is where a program says READY=1. Its name is an abstract one: a program
// of another user, or in a chroot, could not reach a file in the run directory.
type notifySock struct {
	name string // without the zero byte
	file *os.File
	done chan struct{}
}

// listenNotify binds a new name, or again the one that is known to a program.
func listenNotify(name string) (*notifySock, error) {
	if name == "" {
		name = "gracerun-" + rand.Text()
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	n := &notifySock{name: name, file: os.NewFile(uintptr(fd), name)}
	err = errors.Join(
		os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1)),
		os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrUnix{Name: "@" + name})))
	if err != nil {
		n.file.Close()
		return nil, err
	}
	return n, nil
}

// begin reads what is said, to the end: a program that says more must not wait. ready
// is called when one of the group has said that it is.
func (n *notifySock) begin(group int, ready func()) {
	n.done = make(chan struct{})
	go n.read(group, ready)
}

func (n *notifySock) read(group int, ready func()) {
	defer close(n.done)
	rc, err := n.file.SyscallConn()
	if err != nil {
		return
	}
	text, oob := make([]byte, 4<<10), make([]byte, 4<<10)
	for {
		var size, oobSize int
		err := rc.Read(func(fd uintptr) bool {
			for {
				size, oobSize, _, _, err = unix.Recvmsg(int(fd), text, oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
				if err != unix.EINTR {
					return err != unix.EAGAIN
				}
			}
		})
		if err != nil { // closed, or left to a successor
			return
		}
		if saysReady(text[:size]) && sender(oob[:oobSize], group) {
			ready()
		}
		closeRights(oob[:oobSize])
	}
}

// saysReady looks for the line among others.
func saysReady(text []byte) bool {
	for line := range bytes.Lines(text) {
		if string(bytes.TrimSuffix(line, []byte("\n"))) == "READY=1" {
			return true
		}
	}
	return false
}

// sender reports whether one of the group has sent the message. Who has ended since
// cannot say it: systemd-notify(1) therefore waits for the barrier, which is a
// descriptor that we close.
func sender(oob []byte, group int) bool {
	for _, m := range messages(oob) {
		if cred, err := unix.ParseUnixCredentials(&m); err == nil {
			st, err := readStat(int(cred.Pid))
			return err == nil && st.group == group
		}
	}
	return false
}

// closeRights closes what came with a message.
func closeRights(oob []byte) {
	for _, m := range messages(oob) {
		fds, _ := unix.ParseUnixRights(&m)
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
}

func messages(oob []byte) []unix.SocketControlMessage {
	list, _ := unix.ParseSocketControlMessage(oob)
	return list
}

// pause leaves what is said to a successor, who gets the socket.
func (n *notifySock) pause() {
	if n.done != nil {
		n.file.SetReadDeadline(time.Unix(1, 0))
		<-n.done
	}
}

func (n *notifySock) close() {
	n.pause()
	n.file.Close()
}
