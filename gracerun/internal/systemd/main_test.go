package systemd_test

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"
)

// TestMain plays the services, too: the environment names the part. After the tests it
// fails the run if a goroutine is left.
func TestMain(m *testing.M) {
	if part := os.Getenv("SYSTEMD_HELPER"); part != "" {
		os.Unsetenv("SYSTEMD_HELPER")
		if err := parts()[part](); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", part, err)
			os.Exit(1)
		}
		return
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
