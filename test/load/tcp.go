package load

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// TCP talks to a raw echo server, over TCP or a unix socket: it dials, reads
// the greeting "generation G pid P", sends numbered lines one at a time, each
// of which must come back, and closes. Such a connection has no announcement:
// the server must not end it.
type TCP struct {
	Target Target
	Lines  int           // 0 = 3
	Pause  time.Duration // before each line; 0 = none
}

// Do makes one conversation.
func (t *TCP) Do() (o Outcome) {
	lines := t.Lines
	if lines <= 0 {
		lines = 3
	}
	deadline := t.Target.deadline(time.Duration(lines) * t.Pause)
	c, f := open(&t.Target, deadline)
	if f != nil {
		o.Failure = f
		return o
	}
	defer c.Close()
	o.Dialed = true
	c.SetDeadline(deadline)
	if f := c.greeting(&o); f != nil {
		o.Failure = c.failed(f)
		return o
	}
	tag := rand.Uint64()
	for i := range lines {
		time.Sleep(t.Pause)
		if f := c.line(fmt.Sprintf("line %d of %016x\n", i+1, tag)); f != nil {
			o.Failure = c.failed(f)
			return o
		}
	}
	return o
}

func (c *conn) greeting(o *Outcome) *Failure {
	hello, err := c.br.ReadString('\n')
	if err != nil {
		return lost(err, hello != "")
	}
	if o.Generation, o.PID = identity([]byte(hello)); o.PID == 0 {
		return wrong("no generation and pid in the greeting %.80q", hello)
	}
	c.pid = o.PID
	c.answers++
	return nil
}

func (c *conn) line(s string) *Failure {
	if _, err := c.Write([]byte(s)); err != nil {
		return lost(err, true)
	}
	got, err := c.br.ReadString('\n')
	if err != nil {
		return lost(err, true)
	}
	if got != s {
		return wrong("sent %q, got %.80q", s, got)
	}
	return nil
}
