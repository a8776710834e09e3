package gracerun

import (
	"os"
	"os/signal"
	"syscall"
)

// signals have room for each kind: package signal drops what finds none, and a storm of one
// kind is not to cost another. Of those that have room for one alone, a second would say
// nothing new.
type signals struct {
	stop   chan os.Signal // a second one can mean more than the first
	hangup chan os.Signal
	reopen chan os.Signal // the log files
}

func newSignals() signals {
	return signals{stop: make(chan os.Signal, 4), hangup: make(chan os.Signal, 1), reopen: make(chan os.Signal, 1)}
}

// notify has them caught.
func (s signals) notify() {
	signal.Notify(s.hangup, syscall.SIGHUP)
	signal.Notify(s.stop, syscall.SIGINT, syscall.SIGTERM)
	notifyReopen(s.reopen)
	outliveJournal()
}

// flush has all that was sent to stop this process until now in the channel, and none of
// what comes later.
func (s signals) flush() {
	awaitDelivery(syscall.SIGINT, syscall.SIGTERM)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM) // they are still caught
	signal.Stop(s.stop)
}

// silence is the end of that. A late HUP must not look like a death of it.
func (s signals) silence() {
	signal.Ignore(syscall.SIGHUP)
	signal.Stop(s.hangup)
	signal.Stop(s.stop)
	signal.Stop(s.reopen)
}
