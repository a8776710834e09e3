package handoff

import (
	"fmt"
	"os"
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
	code := m.Run()
	if code == 0 && !quiet() {
		fmt.Fprintln(os.Stderr, "goroutines left behind:")
		pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		code = 1
	}
	os.Exit(code)
}

// quiet waits a moment for goroutines that are about to end.
func quiet() bool {
	limit := time.Now().Add(3 * time.Second)
	for runtime.NumGoroutine() > 1 {
		if time.Now().After(limit) {
			return false
		}
		time.Sleep(10 * time.Millisecond)
	}
	return true
}
