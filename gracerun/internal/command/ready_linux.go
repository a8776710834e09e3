package command

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"
)

// What a program may have to meet to be ready.
const (
	metDelay   = "delay"
	metAddress = "address"
	metLine    = "line"
	metNotify  = "notify"
)

// conditions of the definition that are not met yet.
func (s Spec) conditions(met []string) []string {
	var list []string
	for _, c := range []struct {
		name string
		set  bool
	}{
		{metDelay, s.ReadyDelay > 0},
		{metAddress, s.ReadyAddress != ""},
		{metLine, s.ReadyLine != ""},
		{metNotify, s.ReadyNotify},
	} {
		if c.set && !slices.Contains(met, c.name) {
			list = append(list, c.name)
		}
	}
	return list
}

// A watch waits for conditions of being ready.
type watch struct {
	some    chan struct{} // holds a token: met has changed
	cancel  context.CancelFunc
	helpers sync.WaitGroup

	mu  sync.Mutex
	met []string
}

// meet is for any goroutine.
func (w *watch) meet(condition string) {
	w.mu.Lock()
	if !slices.Contains(w.met, condition) {
		w.met = append(w.met, condition)
	}
	w.mu.Unlock()
	select {
	case w.some <- struct{}{}:
	default:
	}
}

// watchReady waits for what the record does not say is met.
func (c *child) watchReady() {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watch{some: make(chan struct{}, 1), cancel: cancel, met: slices.Clone(c.record.Met)}
	c.watch = w
	for _, condition := range c.spec.conditions(c.record.Met) {
		switch condition {
		case metDelay:
			timer, _ := afterOrNever(c.spec.ReadyDelay, c.record.StartedAt)
			w.helpers.Go(func() {
				select {
				case <-timer:
					w.meet(metDelay)
				case <-ctx.Done():
				}
			})
		case metAddress:
			w.helpers.Go(func() {
				if dial(ctx, c.spec.ReadyAddress) {
					w.meet(metAddress)
				}
			})
		case metLine:
			c.sink.look(c.line, func() { w.meet(metLine) })
		}
	}
	c.listen(func() { w.meet(metNotify) })
}

// listen has everything read that comes from the program.
func (c *child) listen(ready func()) {
	for i := range c.streams {
		c.streams[i].begin()
	}
	if c.notify != nil {
		c.notify.begin(c.proc.pid, ready)
	}
}

// isReady also writes down what is met, for a successor.
func (c *child) isReady() bool {
	c.watch.mu.Lock()
	met := slices.Clone(c.watch.met)
	c.watch.mu.Unlock()
	if len(met) > len(c.record.Met) {
		c.update(func(r *record) { r.Met = met })
	}
	return len(c.missing()) == 0
}

func (c *child) missing() []string { return c.spec.conditions(c.record.Met) }

// unwatch ends the waiting, if there is any.
func (c *child) unwatch() {
	if c.watch != nil {
		c.sink.look(nil, nil)
		c.watch.cancel()
		c.watch.helpers.Wait()
		c.watch = nil
	}
}

// dialPause is between two attempts to reach a program that starts.
const dialPause = 50 * time.Millisecond

// dial tries until somebody accepts. It reports false when ctx ends.
func dial(ctx context.Context, address string) bool {
	dialer := net.Dialer{Timeout: time.Second}
	for {
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err == nil {
			conn.Close()
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(dialPause):
		}
	}
}
