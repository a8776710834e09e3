package test

import (
	"os"
	"testing"

	"github.com/gracerun/grace/test/harness"
)

// builder compiles each program once for all tests of the package.
var builder harness.Builder

func TestMain(m *testing.M) { os.Exit(harness.Main(m, &builder, 5)) }

// build compiles a program: build(t, "example/http").
func build(t testing.TB, pkg string) string {
	t.Helper()
	binary, err := builder.Build("github.com/gracerun/grace/" + pkg)
	if err != nil {
		t.Fatal(err)
	}
	return binary
}
