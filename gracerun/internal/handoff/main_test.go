package handoff

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"
)

// TestMain plays the other programs, too: the environment names the part. After
// the tests it fails the run if a goroutine is left.
func TestMain(m *testing.M) {
	if name := os.Getenv("HANDOFF_HELPER"); name != "" {
		if err := helpers()[name](); err != nil {
			fmt.Fprintf(os.Stderr, "helper %s: %v\n", name, err)
			os.Exit(1)
		}
		return
	}
	if err := adoptOrphans(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt) // starts a goroutine that stays
	signal.Stop(c)
	before := runtime.NumGoroutine()
	code := m.Run()
	if code == 0 && !quiet(before) {
		fmt.Fprintln(os.Stderr, "goroutines left behind:")
		pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		code = 1
	}
	os.Exit(code)
}

// quiet waits a moment for goroutines that are about to end.
func quiet(before int) bool {
	limit := time.Now().Add(3 * time.Second)
	for runtime.NumGoroutine() > before {
		if time.Now().After(limit) {
			return false
		}
		time.Sleep(10 * time.Millisecond)
	}
	return true
}
