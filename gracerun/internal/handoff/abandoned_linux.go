package handoff

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A predecessor ends a child that does not come up in time. Once it is dead nobody
// would, and a child that hangs before it calls Run has no timer of its own: with the
// lock that waits in its channel it would keep the service from being started anew,
// and with the line to an anchor, make a supervisor believe that it runs.

// endIfAbandoned ends this process when its predecessor has died, and no App has
// claimed the hand-over when limit is over; 0 = there is none. Claim stops the timer: while
// one runs, the scheduler looks at the clock in each turn.
func (in *inheritance) endIfAbandoned(limit time.Duration) {
	const again = time.Second // a living predecessor is about to end this process
	if limit <= 0 {
		return
	}
	armed := make(chan struct{})
	in.abandoned = time.AfterFunc(limit, func() {
		<-armed
		switch {
		case len(in.claimed) > 0:
		case in.ch.hungUp():
			fmt.Fprintf(os.Stderr, "gracerun: generation %d ends: its predecessor has died, and App.Run has not been called within %v (App.ReadyTimeout)\n",
				in.start.Generation, limit)
			os.Exit(1)
		default:
			in.abandoned.Reset(again)
		}
	})
	close(armed)
}

// hungUp reports whether the other end is closed, whatever is still to be read.
func (c *channel) hungUp() (yes bool) {
	rc, err := c.conn.SyscallConn()
	if err != nil {
		return false
	}
	rc.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}}
		n, _ := unix.Poll(fds, 0)
		yes = n > 0 && fds[0].Revents&unix.POLLHUP != 0
	})
	return yes
}
