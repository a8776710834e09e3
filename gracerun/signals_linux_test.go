package gracerun

import (
	"os"
	"os/signal"
	"syscall"
	"testing"
)

// TestFlush: what was sent is there, and what is sent then ends nothing.
func TestFlush(t *testing.T) {
	s := newSignals()
	defer signal.Reset(syscall.SIGHUP)
	defer s.silence()
	term := func() {
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		s.notify()
		term()
		s.flush()
		if len(s.stop) != 1 {
			t.Fatalf("%d signals are there", len(s.stop))
		}
		<-s.stop
	}
	term()
	awaitDelivery(syscall.SIGTERM)
}
