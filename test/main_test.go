package test

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/gracerun/grace/test/harness"
)

// builder compiles each program once for all tests of the package.
var builder harness.Builder

func TestMain(m *testing.M) {
	if signal.Ignored(syscall.SIGHUP) { // under nohup(1): no program that a test starts is to inherit that
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	code := m.Run()
	if err := builder.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// build compiles a program: build(t, "example/http").
func build(t testing.TB, pkg string) string {
	t.Helper()
	binary, err := builder.Build("github.com/gracerun/grace/" + pkg)
	if err != nil {
		t.Fatal(err)
	}
	return binary
}
