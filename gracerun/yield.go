package gracerun

import (
	"sync/atomic"
	"time"
)

// Both generations accept in the probation, and the kernel wakes both for each
// connection. The old one is awake already and would take nearly all: a new one
// that has answered nothing has proved nothing. So at first the old one waits a
// moment before each accept. What the new one does not take waits no longer.
const (
	yieldFor   = 20 * time.Millisecond // from the begin of the probation
	yieldPause = time.Millisecond
)

// yield is the old generation's way to let the new one go first.
type yield struct{ on atomic.Bool }

func (y *yield) begin() {
	y.on.Store(true)
	time.AfterFunc(yieldFor, func() { y.on.Store(false) })
}

// pause is called before each accept.
func (y *yield) pause() {
	if y.on.Load() {
		time.Sleep(yieldPause)
	}
}
