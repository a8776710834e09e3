package load

import (
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// metronome has this process wake up every d from now on until stop is called,
// which costs next to nothing. A timer of Go's alone rings up to a millisecond
// late if nothing else happens, for the runtime waits in epoll_wait(2), which
// counts in milliseconds. The kernel's timer is exact, and that it rings is
// enough for Go's to be looked at. Without a free descriptor nothing is done.
func metronome(d time.Duration) (stop func()) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return func() {}
	}
	f := os.NewFile(uintptr(fd), "timerfd")
	tick := unix.NsecToTimespec(int64(d))
	unix.TimerfdSettime(fd, 0, &unix.ItimerSpec{Interval: tick, Value: tick}, nil) // tick is a valid time
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(io.Discard, f)
	}()
	return func() { f.Close(); <-done }
}
