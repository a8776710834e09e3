package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// interruptible returns two contexts. The first ends when the demo is to stop
// early: at a signal, or when who started it is gone. The second ends at the next
// signal: somebody does not want to wait for an orderly stop.
func interruptible() (ctx, hurry context.Context) {
	// SIGPIPE, too: whoever reads the output has left, and the service must not
	// stay. A write then returns EPIPE; without Notify it would end this process.
	c := make(chan os.Signal, 4)
	signal.Notify(c, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	ctx, cancel := context.WithCancelCause(context.Background())
	hurry, now := context.WithCancel(context.Background())
	go func() {
		cancel(early(c))
		for sig := range c {
			if sig != syscall.SIGPIPE { // there is one for each write
				now()
			}
		}
	}()
	return ctx, hurry
}

// early waits for a reason to stop and returns it. A SIGTERM for "go run" ends
// that one only, so the parent is watched, too.
func early(c <-chan os.Signal) error {
	parent := os.Getppid()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case sig := <-c:
			return fmt.Errorf("%v", sig)
		case <-tick.C:
			if os.Getppid() != parent {
				return errors.New("the process that started it is gone")
			}
		}
	}
}
