//go:build linux

// Package deployed has the tests of services as they are deployed: under systemd, in
// containers, under other supervisors. What docs/systemd.md and docs/containers.md say is
// done there as it stands.
package deployed

import (
	"os"
	"testing"

	"github.com/gracerun/grace/test/harness"
)

// builder compiles each program once.
var builder harness.Builder

func TestMain(m *testing.M) { os.Exit(harness.Main(m, &builder, 8)) }

// build compiles a program: build(t, "example/http").
func build(t testing.TB, pkg string) string {
	t.Helper()
	binary, err := builder.Build("github.com/gracerun/grace/" + pkg)
	if err != nil {
		t.Fatal(err)
	}
	return binary
}
