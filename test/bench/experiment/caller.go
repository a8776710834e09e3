package experiment

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// A caller asks GET / on one connection, again and again, and costs next to
// nothing itself: the first answer is parsed, all others must be as long and end
// in the same body. It is for what servers cost; what they lose, the clients of
// package load see.
type caller struct {
	conn   net.Conn
	body   []byte
	answer []byte // as long as an answer is
}

const call = "GET / HTTP/1.1\r\nHost: bench\r\n\r\n"

// dialCaller connects, and makes the first request.
func dialCaller(address string) (*caller, error) {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	c := &caller{conn: conn}
	if err := c.first(); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

func (c *caller) first() error {
	c.conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c.conn, call); err != nil {
		return err
	}
	var raw bytes.Buffer
	resp, err := http.ReadResponse(bufio.NewReader(io.TeeReader(c.conn, &raw)), nil)
	if err != nil {
		return err
	}
	if c.body, err = io.ReadAll(resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || resp.ContentLength < 0 {
		return fmt.Errorf("GET / answers %s with a length of %d", resp.Status, resp.ContentLength)
	}
	c.answer = make([]byte, raw.Len())
	return nil
}

// call makes n requests, within 30 s.
func (c *caller) call(n int) error {
	c.conn.SetDeadline(time.Now().Add(30 * time.Second))
	for range n {
		if _, err := io.WriteString(c.conn, call); err != nil {
			return err
		}
		if _, err := io.ReadFull(c.conn, c.answer); err != nil {
			return err
		}
		if !bytes.HasSuffix(c.answer, c.body) {
			return fmt.Errorf("GET / answers %q, and %q before", c.answer, c.body)
		}
	}
	return nil
}

func (c *caller) close() error { return c.conn.Close() }

// calls makes n requests on a connection of its own.
func calls(address string, n int) error {
	c, err := dialCaller(address)
	if err != nil {
		return err
	}
	defer c.close()
	return c.call(n)
}
