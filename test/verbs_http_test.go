//go:build linux

package test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// url is that of a page of the service.
func (c call) url(path string) string { return "http://" + c.Getenv("HELLO_ADDR") + path }

// visit returns the answer to a GET on a new connection.
func visit(url string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	resp, err := open(ctx, url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != 200 {
		err = errors.New(resp.Status)
	}
	return string(body), err
}

func open(ctx context.Context, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return nil, err
	}
	return (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
}

func (c call) get() {
	text, err := visit(c.url(c.args[0]))
	if c.neg != (err != nil) {
		c.Fatalf("%q, %v", text, err)
	}
	fmt.Fprint(c.Stdout(), text)
}

// answers waits until GET / is answered so: for a moment after an upgrade the
// old process may have a connection in hand.
func (c call) answers() {
	pattern := regexp.MustCompile(c.args[0])
	c.wait(func() error {
		text, err := visit(c.url("/"))
		if err == nil && !pattern.MatchString(text) {
			err = fmt.Errorf("GET / is answered %q", text)
		}
		return err
	})
}

// exchange is a request that the service has in hand until finish is called.
type exchange struct {
	until  string // the file that the service waits for
	body   *bufio.Reader
	cancel context.CancelFunc
}

// begin asks for an answer that does not end before finish, and returns when the
// service has begun it.
func (c call) begin() {
	until := filepath.Join(c.dir, c.args[0]+".done")
	ctx, cancel := context.WithCancel(context.Background())
	c.exchanges[c.args[0]] = &exchange{until: until, cancel: cancel}
	resp, err := open(ctx, c.url("/hold?until="+until))
	c.Check(err)
	body := bufio.NewReader(resp.Body)
	if line, err := body.ReadString('\n'); line != "begun\n" {
		c.Fatalf("%q, %v", line, err)
	}
	c.exchanges[c.args[0]].body = body
}

// finish lets the service end an answer: all of it must arrive.
func (c call) finish() {
	e := c.exchanges[c.args[0]]
	if e == nil {
		c.Fatalf("nothing was begun by this name")
	}
	defer e.abandon()
	c.Check(os.WriteFile(e.until, nil, 0o644))
	defer time.AfterFunc(patience, e.cancel).Stop()
	if rest, err := io.ReadAll(e.body); err != nil || string(rest) != "done\n" {
		c.Fatalf("the answer was cut: %q, %v", rest, err)
	}
}

func (e *exchange) abandon() { e.cancel() }

// visitor is a client that asks for a page again and again.
type visitor struct {
	cancel   context.CancelFunc
	done     chan struct{}
	answered int
	failed   []error
}

// runLoad begins to ask, or ends it: then each request must have been answered.
func (c call) runLoad() {
	if c.args[0] == "begin" {
		c.visitor = startVisitor(c.url("/"))
		return
	}
	l := c.visitor
	l.end()
	if l == nil || l.answered == 0 || len(l.failed) > 0 {
		c.Fatalf("load: %+v", l)
	}
	c.Logf("%d requests were answered", l.answered)
}

func startVisitor(url string) *visitor {
	ctx, cancel := context.WithCancel(context.Background())
	l := &visitor{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		tick := time.NewTicker(2 * time.Millisecond) // others want to be served, too
		defer tick.Stop()
		for ; ctx.Err() == nil; <-tick.C {
			// What is asked gets its answer, also after the end.
			if _, err := visit(url); err != nil {
				l.failed = append(l.failed, err)
			} else {
				l.answered++
			}
		}
	}()
	return l
}

func (l *visitor) end() {
	if l != nil {
		l.cancel()
		<-l.done
	}
}
