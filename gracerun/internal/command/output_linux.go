package command

import (
	"errors"
	"log/slog"
	"os"
	"regexp"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/gracerun/internal/daemon"
)

// A stream is the standard output or error of a program: a FIFO, which the program
// has open for reading, too, so that it can write while nobody else is there.
type stream struct {
	path  string
	file  *os.File // our end; nil: the program has a file of the user's
	lines splitter
	emit  func(line []byte)
	done  chan struct{} // closed when nobody reads; nil: nobody has begun
}

// streamNames are those of the records.
var streamNames = [2]string{"stdout", "stderr"}

// fifoSize is how much waits in one, if the system lets us: what a program may write
// before a supervisor is there again.
const fifoSize = 1 << 20

// make makes a new FIFO, so that nothing that was started before has it, and returns
// the program's end. A user who runs it may open it again, as /dev/stdout.
func (s *stream) make(user int) (theirs *os.File, err error) {
	os.Remove(s.path)
	if err := unix.Mkfifo(s.path, 0o600); err != nil {
		return nil, &os.PathError{Op: "mkfifo", Path: s.path, Err: err}
	}
	if s.file, err = openFIFO(s.path); err != nil {
		return nil, err
	}
	withFD(s.file, func(fd int) error {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, fifoSize)
		return err
	})
	fd, err := unix.Open(s.path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: s.path, Err: err}
	}
	theirs = os.NewFile(uintptr(fd), s.path)
	if user >= 0 {
		if err := theirs.Chown(user, -1); err != nil {
			theirs.Close()
			return nil, err
		}
	}
	return theirs, nil
}

func openFIFO(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		f.Close()
		return nil, &os.PathError{Op: "open", Path: path, Err: errors.New("it is no FIFO")}
	}
	return f, nil
}

// inode returns what the FIFO is known by.
func (s *stream) inode() (id inode) {
	if s.file != nil {
		withFD(s.file, func(fd int) error {
			var st unix.Stat_t
			err := unix.Fstat(fd, &st)
			id = inode{uint64(st.Dev), st.Ino}
			return err
		})
	}
	return id
}

// begin has the lines read.
func (s *stream) begin() {
	if s.file == nil {
		return
	}
	s.done = make(chan struct{})
	go s.read()
}

func (s *stream) read() {
	defer close(s.done)
	buf := make([]byte, 32<<10)
	for {
		n, err := s.file.Read(buf)
		s.lines.feed(buf[:n], s.emit)
		if err != nil { // the end; or pause
			return
		}
	}
}

// pause has them wait in the FIFO: what was read is written, but for a line that has
// not ended.
func (s *stream) pause() {
	if s.done != nil {
		s.file.SetReadDeadline(time.Unix(1, 0))
		<-s.done
	}
}

// finish reads what is there, when the program has ended. Somebody else who still has
// the FIFO, and writes, holds nothing up; finish reports whether there is one.
func (s *stream) finish() (held bool) {
	if s.file == nil {
		return false
	}
	s.pause()
	withFD(s.file, func(fd int) error {
		buf := make([]byte, 32<<10)
		for rest := fifoSize; rest > 0; {
			n, err := unix.Read(fd, buf)
			if err == unix.EINTR {
				continue
			}
			if err != nil || n == 0 {
				held = err == unix.EAGAIN // else it is the end
				break
			}
			s.lines.feed(buf[:n], s.emit)
			rest -= n
		}
		return nil
	})
	s.lines.flush(s.emit)
	s.close()
	os.Remove(s.path)
	return held
}

func (s *stream) close() {
	if s.file != nil {
		s.file.Close()
		s.file = nil
	}
}

// A logFile is one that lines are appended to. Several programs may share it.
type logFile struct {
	path   string
	mu     sync.Mutex
	file   *os.File // nil: it cannot be opened
	closed bool
}

// reopen makes a file that is missing, as logrotate(8) leaves it; not its directory.
func (l *logFile) reopen() error {
	file, err := daemon.OpenLog(l.path)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		return err // lines still go to the old one
	}
	if l.closed {
		return file.Close()
	}
	if l.file != nil {
		l.file.Close()
	}
	l.file = file
	return nil
}

// write writes a line at once: generations do so at the same time.
func (l *logFile) write(line []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return &os.PathError{Op: "write", Path: l.path, Err: os.ErrClosed}
	}
	_, err := l.file.Write(append(line, '\n'))
	return err
}

func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}

// A sink takes the lines of one program.
type sink struct {
	log   *slog.Logger
	files [2]*logFile // of standard output and error; nil: the log

	mu    sync.Mutex
	tail  tail
	match *regexp.Regexp // which line says that it is ready; nil: none, or no longer
	met   func()         // is called then
}

// stream returns what takes the lines of standard output, 0, or error, 1.
func (k *sink) stream(i int) func([]byte) {
	return func(line []byte) {
		k.mu.Lock()
		k.tail.add(line)
		match, met := k.match, k.met
		k.mu.Unlock()
		if match != nil && match.Match(line) {
			met()
		}
		log := k.log
		if f := k.files[i]; f != nil {
			err := f.write(line)
			if err == nil {
				return
			}
			log = log.With("error", err)
		}
		log.Info("output", "stream", streamNames[i], "line", string(line))
	}
}

// look has met called with each line that matches; nil ends that.
func (k *sink) look(match *regexp.Regexp, met func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.match, k.met = match, met
}

// remember is for the last lines that a predecessor has seen.
func (k *sink) remember(lines tail) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tail = lines
}

// last returns the last lines.
func (k *sink) last() tail {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append(tail{}, k.tail...)
}
