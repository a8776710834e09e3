package load

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// A Client makes requests. If it is an [io.Closer] too, the [Runner] closes it
// when the last client of its group has finished, once for every time that
// [Group.New] returned it.
type Client interface {
	// Do makes one request, bounded by a time-out of its own, and says how it
	// went. It never sends a request twice.
	Do() Outcome
}

// Outcome is what became of one request.
type Outcome struct {
	Kind    string        // set by the Runner: the group's
	Start   time.Time     // set by the Runner: before the client looked or dialed; in an open loop, when it was due
	Latency time.Duration // set by the Runner: from Start until the whole answer was checked

	Generation int // who answered; 0 = the answer does not say
	PID        int // likewise

	Dialed     bool     // a connection was opened for it
	Announced  bool     // the server said that it ends the connection: Connection: close, GOAWAY
	IdleClosed bool     // the idle connection was found closed, unannounced, before anything was sent
	Failure    *Failure // nil = the answer came, whole and right
}

// Stage says at which point a request failed.
type Stage string

// The stages, in the order in which a request meets them. "Before" means that
// no byte of the answer had come, "inside" that some had.
const (
	StageRefused     Stage = "dial refused"
	StageDial        Stage = "dial" // any other reason for having no connection, the TLS handshake included
	StageResetBefore Stage = "reset before answer"
	StageEOFBefore   Stage = "EOF before answer"
	StageResetInside Stage = "reset inside the answer"
	StageEOFInside   Stage = "EOF inside the answer" // of a chunked one too: its terminator did not come
	StageShort       Stage = "short"                 // an echo that ended properly but lacks bytes at its end
	StageWrongAnswer Stage = "wrong answer"          // another status than 200, other bytes, or not the protocol
	StageTimeout     Stage = "timeout"               // whatever the client was waiting for
)

// Failure is a request that got no answer, or not the right one. It is an error.
type Failure struct {
	Kind     string        // set by the Runner: the group's
	When     time.Time     // set by the Runner: when the client knew
	After    time.Duration // set by the Runner: how long after the request's start
	InWindow bool          // set by the Runner: a window was open during the request, see [Runner.Window]

	Written time.Time // when the last byte of an HTTP/1 request had been written; zero if it was not

	Stage  Stage
	Reused bool  // the connection had carried an answer before
	PID    int   // the process last seen on that connection; 0 = none said
	Err    error // what the connection or the check said; never nil
}

// Error tells all of it in one line.
func (f *Failure) Error() string {
	conn := "new connection"
	if f.Reused {
		conn = "reused connection"
	}
	return fmt.Sprintf("%s: %s after %v (%s, pid %d): %v", f.Kind, f.Stage, f.After.Round(time.Microsecond), conn, f.PID, f.Err)
}

// Unwrap returns Err.
func (f *Failure) Unwrap() error { return f.Err }

// wrong returns the failure of an answer that came, but should not have.
func wrong(format string, args ...any) *Failure {
	return &Failure{Stage: StageWrongAnswer, Err: fmt.Errorf(format, args...)}
}

// undialed returns the failure of a request that found no connection.
func undialed(err error) *Failure {
	stage := StageDial
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		stage = StageRefused
	case isTimeout(err):
		stage = StageTimeout
	}
	return &Failure{Stage: stage, Err: err}
}

// lost returns the failure of a request whose connection returned err.
func lost(err error, inside bool) *Failure {
	reset, eof := StageResetBefore, StageEOFBefore
	if inside {
		reset, eof = StageResetInside, StageEOFInside
	}
	stage := StageWrongAnswer // a parser's error
	var op *net.OpError
	switch {
	case isTimeout(err):
		stage = StageTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		stage = eof
	case errors.As(err, &op): // ECONNRESET; EPIPE when the end had come before the reset; a TLS alert
		stage = reset
	}
	return &Failure{Stage: stage, Err: err}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout() // context.DeadlineExceeded too
}
