package daemon

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxQueue is how many bytes wait for a logging service that does not read.
	maxQueue = 4 << 20
	// retryAfter is when a service that is not there is tried again.
	retryAfter = 100 * time.Millisecond
	// flushTime is how long close waits.
	flushTime = 10 * time.Second
)

// A sink sends lines to the socket of a logging service, one in each datagram. It
// never keeps the one who writes waiting: while the service does not read, lines
// wait, and what is too much is counted.
type sink struct {
	order   order
	format  func(name string, e entry) []byte
	conn    net.Conn      // deliver's
	expired chan struct{} // closed when the time for the rest is over
	done    chan struct{} // closed when deliver has ended

	mu     sync.Mutex
	some   sync.Cond
	queue  []entry
	size   int
	lost   int
	closed bool
}

// An entry is one line of the log.
type entry struct {
	when  time.Time
	level int
	text  []byte
}

func newSink(o order) *sink {
	s := &sink{order: o, format: journalEntry, expired: make(chan struct{}), done: make(chan struct{})}
	if o.Output == Syslog {
		s.format = syslogEntry
	}
	s.some.L = &s.mu
	go s.deliver()
	return s
}

// facility is LOG_DAEMON of syslog(3).
const facility = 3

// journalEntry is the journal's native protocol; a line has no newline, so that
// the simple form does.
func journalEntry(name string, e entry) []byte {
	return fmt.Appendf(nil, "PRIORITY=%d\nSYSLOG_FACILITY=%d\nSYSLOG_IDENTIFIER=%s\nMESSAGE=%s\n", e.level, facility, name, e.text)
}

// syslogEntry is what syslog(3) sends, RFC 3164 without the host. It has no pid:
// which generation has written a line is not known, and ours would mislead.
func syslogEntry(name string, e entry) []byte {
	return fmt.Appendf(nil, "<%d>%s %s: %s", facility<<3|e.level, e.when.Format(time.Stamp), name, e.text)
}

func (s *sink) put(e entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.size+len(e.text) > maxQueue {
		s.lost++
		return
	}
	s.size += len(e.text)
	s.queue = append(s.queue, e)
	s.some.Signal()
}

// take waits for the next line.
func (s *sink) take() (e entry, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) == 0 && !s.closed {
		s.some.Wait()
	}
	if len(s.queue) == 0 {
		return entry{}, false
	}
	e = s.queue[0]
	s.queue[0], s.queue = entry{}, s.queue[1:]
	s.size -= len(e.text)
	return e, true
}

// deliver sends lines until close.
func (s *sink) deliver() {
	defer close(s.done)
	for {
		e, ok := s.take()
		if !ok || s.isLate() {
			s.hangUp()
			return
		}
		if s.send(e) {
			s.confess()
		}
	}
}

// confess says how many lines were lost, where they are missed.
func (s *sink) confess() {
	s.mu.Lock()
	lost := s.lost
	s.lost = 0
	s.mu.Unlock()
	if lost > 0 {
		s.send(entry{time.Now(), prioWarning, fmt.Appendf(nil, "%d lines of the log are lost: they were not taken in time", lost)})
	}
}

// send tries until the service has e. It reports false when time is over, or it
// cannot be sent at all.
func (s *sink) send(e entry) bool {
	text := s.format(s.order.Name, e)
	for {
		err := s.write(text)
		switch {
		case err == nil:
			return true
		case errors.Is(err, unix.EMSGSIZE):
			return false
		}
		wait := time.Duration(0)
		if !errors.Is(err, os.ErrDeadlineExceeded) { // the first line; or the service was restarted, or is being
			s.hangUp()
			if s.dial() != nil {
				wait = retryAfter
			}
		}
		select {
		case <-s.expired:
			return false
		case <-time.After(wait):
		}
	}
}

// isLate reports whether there is no more time for the rest.
func (s *sink) isLate() bool {
	select {
	case <-s.expired:
		return true
	default:
		return false
	}
}

func (s *sink) write(text []byte) error {
	if s.conn == nil {
		return net.ErrClosed
	}
	s.conn.SetWriteDeadline(time.Now().Add(retryAfter))
	_, err := s.conn.Write(text)
	return err
}

func (s *sink) dial() (err error) {
	s.conn, err = net.Dial("unixgram", s.order.Socket)
	if err != nil {
		s.conn = nil // and not a nil *net.UnixConn
	}
	return err
}

func (s *sink) hangUp() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

// close waits until the lines are sent, but not for ever.
func (s *sink) close() {
	s.mu.Lock()
	s.closed = true
	s.some.Signal()
	s.mu.Unlock()
	defer time.AfterFunc(flushTime, func() { close(s.expired) }).Stop()
	<-s.done
}
