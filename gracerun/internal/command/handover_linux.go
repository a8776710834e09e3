package command

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A parcel is what one supervisor leaves to the next of a program besides its record:
// what is open is never closed in between, so that nothing is lost, not even of a
// program that ends while nobody supervises it.
type parcel struct {
	record record
	files  [parcelFiles]*os.File // nil: there is none
}

// Files of a parcel.
const (
	parcelHandle = iota
	parcelOutput
	parcelErrorOutput
	parcelNotify
	parcelFiles
)

func (p *parcel) close() {
	for _, f := range p.files {
		if f != nil {
			f.Close()
		}
	}
}

// parcelHead goes before the descriptors.
type parcelHead struct {
	Record json.RawMessage `json:"record"`
	Files  []int           `json:"files"` // which ones they are
}

// A mailbox is where parcels wait for a supervisor that has not begun: connections
// that nobody has accepted, with what was sent on them. So the sender need not wait,
// and may even be gone.
type mailbox struct {
	path string
	file *os.File
}

// maxParcels is how many may wait.
const maxParcels = 4096

// openMailbox makes one. Each supervisor has its own: a successor that comes to
// nothing leaves a file that refuses connections.
func openMailbox(dir, name string) (*mailbox, error) {
	m := &mailbox{path: filepath.Join(dir, mailboxPrefix(name)+rand.Text()+".sock")}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	m.file = os.NewFile(uintptr(fd), m.path)
	temp := m.path + ".new" // until it listens it would look dead
	err = within(temp, func(sa unix.Sockaddr) error {
		return errors.Join(os.NewSyscallError("bind", unix.Bind(fd, sa)), os.NewSyscallError("listen", unix.Listen(fd, maxParcels)))
	})
	if err == nil {
		err = os.Chmod(temp, 0o600)
	}
	if err == nil {
		err = os.Rename(temp, m.path)
	}
	if err != nil {
		os.Remove(temp)
		m.close()
		return nil, err
	}
	return m, nil
}

func mailboxPrefix(name string) string { return name + ".commands." }

// within calls f with an address of path that is never too long.
func within(path string, f func(unix.Sockaddr) error) error {
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	defer unix.Close(dir)
	return f(&unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir, filepath.Base(path))})
}

// take returns the parcels that wait, by the name of the program.
func (m *mailbox) take() map[string]*parcel {
	parcels, text := map[string]*parcel{}, make([]byte, maxRecord)
	withFD(m.file, func(fd int) error {
		for {
			conn, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return err
			}
			p, err := receive(conn, text)
			unix.Close(conn)
			if err != nil {
				continue // the record on disk says the rest
			}
			if old := parcels[p.record.Name]; old != nil {
				old.close()
			}
			parcels[p.record.Name] = p
		}
	})
	return parcels
}

func receive(conn int, text []byte) (*parcel, error) {
	oob := make([]byte, unix.CmsgSpace(parcelFiles*4))
	n, oobSize, flags, _, err := unix.Recvmsg(conn, text, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	var fds []int
	for _, m := range messages(oob[:oobSize]) {
		if more, err := unix.ParseUnixRights(&m); err == nil {
			fds = append(fds, more...)
		}
	}
	p, err := unpack(text[:n], fds)
	if err == nil && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		p.close()
		return nil, errors.New("the parcel is cut")
	}
	return p, err
}

// unpack takes the descriptors over.
func unpack(text []byte, fds []int) (*parcel, error) {
	var head parcelHead
	p := &parcel{}
	err := json.Unmarshal(text, &head)
	if err == nil {
		p.record, err = decodeRecord(head.Record)
	}
	if err == nil && len(head.Files) != len(fds) {
		err = errors.New("descriptors are missing")
	}
	for i, fd := range fds {
		if err != nil || head.Files[i] < 0 || head.Files[i] >= parcelFiles || p.files[head.Files[i]] != nil {
			unix.Close(fd) // a later build has more kinds
			continue
		}
		p.files[head.Files[i]] = os.NewFile(uintptr(fd), "parcel")
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// close throws away what nobody has taken.
func (m *mailbox) close() {
	os.Remove(m.path)
	m.file.Close()
}

// mailboxes returns the paths of all that there are, also of those whose owners were
// killed.
func mailboxes(dir, name string) (paths []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), mailboxPrefix(name)) && strings.HasSuffix(e.Name(), ".sock") {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths
}

// sweep removes those of the dead: else a service that crashes leaves one each time.
func sweep(dir, name string) {
	for _, path := range mailboxes(dir, name) {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return
		}
		within(path, func(sa unix.Sockaddr) error {
			if unix.Connect(fd, sa) == unix.ECONNREFUSED {
				os.Remove(path)
			}
			return nil
		})
		unix.Close(fd)
	}
}

// send puts the parcels into the mailboxes of all successors, of which there is one,
// as a rule. What cannot be sent the successor finds by the records.
func send(dir, name string, parcels []*parcel) {
	for _, path := range mailboxes(dir, name) {
		for _, p := range parcels {
			if errors.Is(p.send(path), unix.ECONNREFUSED) { // its owner is dead
				os.Remove(path)
				break
			}
		}
	}
}

func (p *parcel) send(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, maxRecord)
	if err := within(path, func(sa unix.Sockaddr) error { return unix.Connect(fd, sa) }); err != nil {
		return err
	}
	var head parcelHead
	var fds []int
	for i, f := range p.files {
		if f != nil {
			head.Files = append(head.Files, i)
			withFD(f, func(fd int) error { fds = append(fds, fd); return nil })
		}
	}
	if head.Record, err = json.Marshal(p.record); err != nil {
		return err
	}
	text, err := json.Marshal(head)
	if err != nil {
		return err
	}
	return unix.Sendmsg(fd, text, unix.UnixRights(fds...), nil, 0)
}
