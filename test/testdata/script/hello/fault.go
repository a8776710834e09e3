package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/gracerun/grace/gracerun"
)

// A release is what was deployed, and how it goes wrong:
//
//	exits    before main has done anything
//	fails    Setup returns an error
//	panics   in Setup
//	quits    Setup ends the process
//	hangs    Setup does not return
//	waits    Setup does not return until the file "go" is beside the program
//	deaf     it ignores SIGTERM once it is ready
type release struct {
	dir, version, fault string
}

// findRelease follows the link that leads to the present release.
func findRelease() release {
	exe, err := os.Executable()
	if err != nil {
		exe = os.Args[0] // there is no /proc
	}
	exe, _ = filepath.EvalSymlinks(exe)
	r := release{dir: filepath.Dir(exe)}
	r.version, r.fault = r.read("version"), r.read("fault")
	return r
}

func (r release) read(name string) string {
	text, _ := os.ReadFile(filepath.Join(r.dir, name))
	return strings.TrimSpace(string(text))
}

// exitEarly ends a process that does not get as far as the App.
func (r release) exitEarly() {
	if r.fault == "exits" {
		fmt.Fprintln(os.Stderr, "open settings.yaml: no such file or directory")
		os.Exit(3)
	}
}

func (r release) setUp(ctx context.Context) error {
	switch r.fault {
	case "fails":
		return errors.New("the price list is empty")
	case "panics":
		panic("the price list is upside down")
	case "quits":
		fmt.Fprintln(os.Stderr, "the price list is gone, and so am I")
		os.Exit(4)
	case "hangs":
		select {}
	case "waits":
		os.WriteFile(filepath.Join(r.dir, "waiting"), nil, 0o644)
		return waitFor(ctx, filepath.Join(r.dir, "go"))
	}
	return nil
}

func (r release) onState(s gracerun.State) {
	if r.fault == "deaf" && s == gracerun.StateReady {
		signal.Ignore(syscall.SIGTERM)
	}
}
