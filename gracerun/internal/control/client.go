package control

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// ErrNoResult is the error of an upgrade whose answer ended too early: the
// process that gave it may have ended. Who owns the service now, the lock tells.
var ErrNoResult = errors.New("the answer ended before the upgrade did: see by status how it went")

const (
	dialTimeout = 5 * time.Second // a busy machine needs more than one
	maxAnswer   = 4 << 20         // bytes of an answer or a line: a status of thousands of sockets is a tenth of it
	maxRefusal  = 64 << 10
)

// Client asks a service over its control socket. Each call opens a connection of
// its own, so that it reaches the generation that owns the service now, or another
// one if that is replaced meanwhile, and lasts no longer than its context.
//
// If nobody answers on the socket the error is that of connect(2), for
// [errors.Is]: ECONNREFUSED (nobody listens), ENOENT, EACCES. One that says no is
// a [*StatusError].
type Client struct{ path string }

// NewClient returns a client for the control socket at path. It opens nothing.
func NewClient(path string) *Client { return &Client{path} }

// Status returns the state of the service.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.call(ctx, http.MethodGet, "/status", &s)
	return s, err
}

// Upgrade replaces the process of the service. progress, unless it is nil, is
// called with each step, the result included, which is returned as well. An
// upgrade that failed and changed nothing is a [*Failure]; an answer that stops
// in between is [ErrNoResult].
//
// When ctx ends, the service gives the upgrade up unless it is too late, or
// somebody else asked for it, too.
func (c *Client) Upgrade(ctx context.Context, progress func(Event)) (Event, error) {
	for {
		e, err := c.upgrade(ctx, progress)
		if err != nil || e.Event != EventMoved {
			return e, err
		}
	}
}

// upgrade asks one generation.
func (c *Client) upgrade(ctx context.Context, progress func(Event)) (Event, error) {
	res, err := c.do(ctx, http.MethodPost, "/upgrade")
	if err != nil {
		return Event{}, err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, maxAnswer)
	for lines.Scan() {
		var e Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return Event{}, fmt.Errorf("%w (%w)", ErrNoResult, err)
		}
		if progress != nil {
			progress(e)
		}
		if e.Event == EventFailed {
			return e, &Failure{Stage: e.Stage, PID: e.PID, Err: errors.New(e.Error)}
		}
		if e.last() {
			return e, nil
		}
	}
	if err := cmp.Or(context.Cause(ctx), lines.Err()); err != nil {
		return Event{}, fmt.Errorf("%w (%w)", ErrNoResult, err)
	}
	return Event{}, ErrNoResult
}

// AskUpgrade asks for an upgrade and returns when the service has heard it. It
// goes on without the client.
func (c *Client) AskUpgrade(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/upgrade?wait=false", nil)
}

// Reload lets the service reread its configuration, and returns how that went.
func (c *Client) Reload(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/reload", nil)
}

// Stop asks the service to finish what it has in hand and end. It returns when
// the request is heard.
func (c *Client) Stop(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/stop", nil)
}

// Reopen lets the service, all its generations, open its log files anew.
func (c *Client) Reopen(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/reopen-logs", nil)
}

// Pause keeps a task from new runs, and a command from running, until Resume.
// If there is none of that name, the error is a [*NoTaskError].
func (c *Client) Pause(ctx context.Context, name string) error {
	return c.tell(ctx, "/pause", name)
}

// Resume ends a Pause. Its errors are those of Pause.
func (c *Client) Resume(ctx context.Context, name string) error {
	return c.tell(ctx, "/resume", name)
}

// Trigger has a task run now, and a command restarted. Its errors are those of
// Pause.
func (c *Client) Trigger(ctx context.Context, name string) error {
	return c.tell(ctx, "/trigger", name)
}

func (c *Client) tell(ctx context.Context, path, name string) error {
	return c.call(ctx, http.MethodPost, path+"?name="+url.QueryEscape(name), nil)
}

// call reads the answer into v, unless that is nil.
func (c *Client) call(ctx context.Context, method, path string, v any) error {
	res, err := c.do(ctx, method, path)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if v == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(v); err != nil {
		return fmt.Errorf("control socket %s: answer to %s: %w", c.path, path, err)
	}
	return nil
}

// do returns an answer that says yes, and whose body is to be closed. It is not
// http.Client's work: that would be a third of a megabyte in every service.
func (c *Client) do(ctx context.Context, method, path string) (*http.Response, error) {
	for {
		res, err := c.ask(ctx, method, path)
		switch {
		case err != nil:
			return nil, fmt.Errorf("control socket %s: %w", c.path, err)
		case res.StatusCode/100 == 2:
			return res, nil
		case res.StatusCode != http.StatusMisdirectedRequest:
			defer res.Body.Close()
			return nil, statusError(res)
		}
		res.Body.Close() // it is the successor's
	}
}

// ask returns the answer to a request, on a connection that ends with its body.
func (c *Client) ask(ctx context.Context, method, path string) (*http.Response, error) {
	req, err := http.NewRequest(method, "http://control"+path, nil)
	if err != nil {
		return nil, err
	}
	req.Close = true
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	res, err := exchange(conn, req)
	if err != nil {
		stop()
		conn.Close()
		return nil, cmp.Or(context.Cause(ctx), err)
	}
	res.Body = &body{res.Body, conn, stop}
	return res, nil
}

func exchange(conn net.Conn, req *http.Request) (*http.Response, error) {
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	from := &io.LimitedReader{R: conn, N: maxHeader}
	res, err := http.ReadResponse(bufio.NewReader(from), req)
	from.N = math.MaxInt64 // the body is bounded by who reads it
	return res, err
}

// A body closes the connection that it came on.
type body struct {
	io.Reader
	conn net.Conn
	stop func() bool // forgets the context
}

func (b *body) Close() error {
	b.stop()
	return b.conn.Close()
}

func statusError(res *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxRefusal))
	var r refusal
	json.Unmarshal(body, &r)
	message := cmp.Or(r.Error, string(bytes.TrimSpace(body)), res.Status)
	if res.StatusCode == http.StatusNotFound && r.Task != "" {
		return &NoTaskError{Name: r.Task, Message: message}
	}
	return &StatusError{Code: res.StatusCode, Message: message}
}

// dial connects, and checks who is there.
func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := connect(ctx, c.path)
	if err != nil {
		return nil, err
	}
	if err := c.trust(conn); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// connect waits for room in the queue of a busy listener. On Linux connect(2)
// does not, of a socket that does not block (EAGAIN).
func connect(ctx context.Context, path string) (net.Conn, error) {
	var d net.Dialer
	for {
		conn, err := d.DialContext(ctx, "unix", path)
		if !errors.Is(err, syscall.EAGAIN) {
			return conn, err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w (%w)", err, ctx.Err())
		}
	}
}

// trust accepts a server of root, of this user, or of the run directory's owner.
// Anybody else has put a socket where others may, too.
func (c *Client) trust(conn net.Conn) error {
	server, err := peerOf(conn)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil // the file's mode is all there is
	}
	if err != nil {
		return err
	}
	if server.mayAsk() || ownerIs(filepath.Dir(c.path), server.uid) {
		return nil
	}
	return &fs.PathError{Op: "trust", Path: c.path, Err: fmt.Errorf("it is served by user %d, who does not own its directory: %w", server.uid, os.ErrPermission)}
}
