package control

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Service is what the control socket shows and steers. Handlers call it from
// goroutines of their own.
type Service struct {
	// Status returns the state of the service.
	Status func() Status
	// Ready and Live are nil while the service takes new work, and while this
	// process is of use. A nil func says yes.
	Ready, Live func(ctx context.Context) error
	// Changed returns a channel that is closed at the next change of what Status
	// returns. It may miss some: those who watch look once a second as well.
	Changed func() <-chan struct{}
	// Upgrade replaces the process and returns when it is decided; an error may be
	// a *[Failure], or [ErrMoved]. It is given up when ctx ends, if it is not too late
	// and nobody else asked for it. progress takes each step but the result, and never
	// blocks; the PID, Generation and Version of an EventCommitted are taken into
	// the result. A nil progress is of one who does not wait, and cannot ask again.
	Upgrade func(ctx context.Context, progress func(Event)) error
	// Reload rereads the configuration. Nil: it takes a new process to do so. An error
	// may be ErrMoved.
	Reload func(ctx context.Context) error
	// Stop begins the end of the service; why is for the log.
	Stop func(why string)
	// Reopen opens the log files anew, in all generations.
	Reopen func() error
	// Pause, Resume and Trigger do that to a task or a command. The error wraps
	// [fs.ErrNotExist] if there is none of that name, [errors.ErrUnsupported] if it
	// is none that this can be done to. Nil: it can be done to none.
	Pause, Resume, Trigger func(name string) error
	// Draining returns a channel that is closed when this process lets go.
	// Those who only watch are sent away then, and find its successor.
	Draining func() <-chan struct{}
}

// ErrMoved says that the process was replaced before it came to a request. The client is
// to ask again, and reaches the successor: [Client] does.
var ErrMoved = errors.New("the process has been replaced meanwhile: ask its successor")

const (
	readHeaderTimeout = 5 * time.Second
	idleTimeout       = 5 * time.Second
	maxHeader         = 8 << 10
)

// NewServer returns the server of a control socket, which is to be a unix
// socket: others are told nothing.
func NewServer(s Service, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           Handler(s),
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return identify(ctx, c, log)
		},
	}
}

type peerKey struct{}

// identify notes in a connection's context who is at its other end, if that one
// may ask for anything.
func identify(ctx context.Context, c net.Conn, log *slog.Logger) context.Context {
	p, err := peerOf(c)
	switch {
	case err != nil:
		log.Warn("control socket: refused a client", "error", err)
	case !p.mayAsk():
		log.Warn("control socket: refused a client of another user", "uid", p.uid, "pid", p.pid)
	default:
		return context.WithValue(ctx, peerKey{}, p)
	}
	return ctx
}
