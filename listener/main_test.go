package listener_test

import (
	"os"
	"testing"
)

// A helper is a program that the test binary plays in a process of its own.
type helper func() int

// TestMain runs the helper that the environment names, else the tests.
func TestMain(m *testing.M) {
	if run, ok := helpers()[os.Getenv("LISTENER_TEST_HELPER")]; ok {
		os.Exit(run())
	}
	os.Exit(m.Run())
}
