package peer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Breakage is what is wrong with the program that the next upgrade would start.
type Breakage int

// The ways to break it. Each program says "broken on purpose" first. For proxies whose upgrade starts no program, Exit is a
// configuration with an error, and Missing one that is not there.
const (
	Exit    Breakage = iota // it exits with 1
	Hang                    // it never gets ready
	Missing                 // there is no such file
	Killed                  // it kills itself with SIGKILL
	Late                    // it is the right one, but dies 300 ms after its start
)

// lateAfter is when a program dies that is broken by [Late].
const lateAfter = 300 * time.Millisecond

// Breakages returns all.
func Breakages() []Breakage { return []Breakage{Exit, Hang, Missing, Killed, Late} }

// String returns what is wrong in a word or two.
func (how Breakage) String() string {
	switch how {
	case Exit:
		return "exits"
	case Hang:
		return "hangs"
	case Missing:
		return "is missing"
	case Killed:
		return "is killed"
	case Late:
		return "dies late"
	}
	return fmt.Sprintf("Breakage(%d)", int(how))
}

// CanBreak reports whether [Server.Break] can do so.
func (k *Kind) CanBreak(how Breakage) bool {
	switch {
	case k.proxy == nil:
		return k.Can(Binary)
	case k.Can(Binary):
		return how != Late
	}
	return how == Exit || how == Missing
}

// Break has the next upgrade meet a broken program, in the place of the good one.
// What runs is not touched. The error wraps [errors.ErrUnsupported] if the kind
// cannot be broken so.
func (s *Server) Break(how Breakage) error {
	if !s.CanBreak(how) {
		return fmt.Errorf("%s: a program that %v: %w", s.Name, how, errors.ErrUnsupported)
	}
	if !s.Can(Binary) {
		return s.breakConfig(how)
	}
	switch how {
	case Missing:
		return s.Uninstall()
	case Late:
		binary, err := s.builder.buildLate(s.Kind)
		if err != nil {
			return err
		}
		return s.Install(binary)
	}
	end := map[Breakage]string{Exit: "exit 1", Hang: "exec sleep 1000", Killed: "kill -KILL $$"}[how]
	return s.InstallText("#!/bin/sh\necho broken on purpose >&2\n"+end+"\n", 0o755)
}

func (s *Server) breakConfig(how Breakage) error {
	if how == Missing {
		return os.Remove(filepath.Join(s.Root, s.proxy.template))
	}
	return writeConfig(s.Service, s.proxy.template, "broken on purpose;\n")
}

// Mend puts the good program back for the next upgrade.
func (s *Server) Mend() error {
	switch {
	case s.Can(Binary):
		return s.Install(s.binary)
	case s.proxy != nil:
		return writeConfig(s.Service, s.proxy.template, s.config)
	}
	return nil
}
