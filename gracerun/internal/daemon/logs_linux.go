package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Logs are where the standard output and the standard error of this process go.
// Nothing that is written there waits in this process: what it writes last arrives.
type Logs struct {
	root    string // before the paths of sockets, for tests
	name    string
	files   []logFile
	streams []*stream

	opening sync.Mutex // Reopen may be called by several
}

type logFile struct {
	path string
	fds  []int
}

// OpenLogs puts the outputs of a daemon in the place of descriptors 1 and 2; each
// generation does. An output is a file, [Journal] or [Syslog], or "" for what is
// there already; without an errorOutput both go to output. name is the service's,
// for the journal and syslog. Those two wait for [Logs.Commit] while the launcher
// keeps the output of the first generation.
func OpenLogs(output, errorOutput, name string) (*Logs, error) {
	return openLogs("/", output, errorOutput, name)
}

func openLogs(root, output, errorOutput, name string) (*Logs, error) {
	l := &Logs{root: root, name: name}
	if errorOutput == "" || errorOutput == output {
		return l, l.open(output, 1, 2)
	}
	return l, errors.Join(l.open(output, 1), l.open(errorOutput, 2))
}

func (l *Logs) open(output string, fds ...int) error {
	switch {
	case output == "":
		return nil
	case socketOf(output) != "":
		s := &stream{order: order{l.name, output, filepath.Join(l.root, socketOf(output))}, fds: fds}
		l.streams = append(l.streams, s)
		return s.open()
	}
	file := logFile{output, fds}
	l.files = append(l.files, file)
	if file.isOpen() { // the launcher did, maybe with more rights than we have
		return nil
	}
	return file.open()
}

// isOpen reports whether the descriptors are those of the file that has the path
// now.
func (lf logFile) isOpen() bool {
	var want, have unix.Stat_t
	if unix.Stat(lf.path, &want) != nil {
		return false
	}
	for _, fd := range lf.fds {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil || flags&unix.O_APPEND == 0 || flags&unix.O_ACCMODE == unix.O_RDONLY {
			return false
		}
		if unix.Fstat(fd, &have) != nil || have.Dev != want.Dev || have.Ino != want.Ino {
			return false
		}
	}
	return true
}

func (lf logFile) open() error {
	f, err := OpenLog(lf.path)
	if err != nil {
		return err
	}
	defer f.Close()
	return put(f, lf.fds...)
}

// put makes fds other names of f, also for commands that are started from here.
func put(f *os.File, fds ...int) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errs []error
	err = rc.Control(func(from uintptr) {
		for _, fd := range fds {
			errs = append(errs, os.NewSyscallError("dup3", unix.Dup3(int(from), fd, 0)))
		}
	})
	return errors.Join(err, errors.Join(errs...))
}

// Commit is called when this process owns the service. It ends the time in which
// the launcher keeps the output, and opens those files again that were moved while
// only the predecessor was told.
func (l *Logs) Commit() error {
	l.opening.Lock()
	defer l.opening.Unlock()
	var errs []error
	for _, s := range l.streams {
		errs = append(errs, s.begin())
	}
	for _, file := range l.files {
		if !file.isOpen() {
			errs = append(errs, file.reopen())
		}
	}
	return errors.Join(errs...)
}

// Reopen opens the log files again by their paths, for logrotate(8), and starts a
// forwarder where one was killed. What cannot be opened goes on as before.
func (l *Logs) Reopen() error {
	l.opening.Lock()
	defer l.opening.Unlock()
	var errs []error
	for _, file := range l.files {
		errs = append(errs, file.reopen())
	}
	for _, s := range l.streams {
		errs = append(errs, s.open())
	}
	return errors.Join(errs...)
}

func (lf logFile) reopen() error {
	if err := lf.open(); err != nil {
		return fmt.Errorf("the log stays in the file that is open: %w", err)
	}
	return nil
}

// socketOf is where a logging service listens, "" for what is none.
func socketOf(output string) string {
	switch output {
	case Journal:
		return "/run/systemd/journal/socket"
	case Syslog:
		return "/dev/log"
	}
	return ""
}
