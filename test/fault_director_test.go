//go:build linux

package test

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A director decides how the processes of testdata/service go on at each step of
// their life (see its package step). It answers "go" unless something else was
// ordered.
type director struct {
	ln net.Listener
	wg sync.WaitGroup

	mu     sync.Mutex
	orders map[string][]string // by step, for the processes to come
	held   map[string]chan *held
	all    []*held
}

// held is a process that waits at a step.
type held struct {
	pid  int
	conn net.Conn
}

const hold = "hold" // the order that there will be an order

func newDirector(t testing.TB) *director {
	ln, err := net.Listen("unix", "@grace-director-"+rand.Text())
	if err != nil {
		t.Fatal(err)
	}
	d := &director{ln: ln, orders: map[string][]string{}, held: map[string]chan *held{}}
	d.wg.Go(d.accept)
	t.Cleanup(d.close)
	return d
}

func (d *director) address() string { return d.ln.Addr().String() }

func (d *director) accept() {
	for {
		c, err := d.ln.Accept()
		if err != nil {
			return
		}
		d.wg.Go(func() { d.answer(c) })
	}
}

func (d *director) answer(c net.Conn) {
	h := &held{conn: c}
	d.mu.Lock()
	d.all = append(d.all, h)
	d.mu.Unlock()
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return
	}
	if h.pid, err = peer(c); err != nil {
		return
	}
	step := strings.TrimSuffix(line, "\n")
	switch order := d.order(step); order {
	case hold:
		d.at(step) <- h
	default:
		h.tell(order)
	}
}

// peer returns the process at the other end (SO_PEERCRED in unix(7)).
func peer(c net.Conn) (pid int, err error) {
	rc, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	if cerr := rc.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); cerr != nil || err != nil {
		return 0, errors.Join(cerr, err)
	}
	return int(cred.Pid), nil
}

// order takes what was ordered for the next process that comes to a step.
func (d *director) order(step string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	queue := d.orders[step]
	if len(queue) == 0 {
		if step == "standby" {
			return hold
		}
		return "go"
	}
	d.orders[step] = queue[1:]
	return queue[0]
}

func (d *director) at(step string) chan *held {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held[step] == nil {
		d.held[step] = make(chan *held, 100)
	}
	return d.held[step]
}

// next orders what the next process that comes to a step does there.
func (d *director) next(step, order string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.orders[step] = append(d.orders[step], order)
}

// wait returns the next process that is held at a step.
func (d *director) wait(ctx context.Context, step string) (*held, error) {
	select {
	case h := <-d.at(step):
		return h, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("no process came to %q: %w", step, context.Cause(ctx))
	}
}

// tell gives the order and lets the process go.
func (h *held) tell(order string) {
	h.conn.SetWriteDeadline(time.Now().Add(time.Second))
	fmt.Fprintln(h.conn, order)
	h.conn.Close()
}

// close lets everybody go on.
func (d *director) close() {
	d.ln.Close()
	d.mu.Lock()
	for _, h := range d.all {
		h.conn.Close()
	}
	d.mu.Unlock()
	d.wg.Wait()
}
