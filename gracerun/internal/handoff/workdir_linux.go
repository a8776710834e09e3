package handoff

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	_ "unsafe" // for go:linkname
)

// engineDir is the directory in which tableflip starts a child: the one that it
// saw when the process began. It cannot be set from outside, and a directory
// that is deleted later (the release that a deployment replaced) would make
// every upgrade fail, so this reaches in. tableflip is pinned for it, too.
//
//go:linkname engineDir github.com/cloudflare/tableflip.initialWD
var engineDir string

// firstDir is the working directory at the start of the process, "" when it had
// been deleted.
var firstDir, _ = os.Getwd()

// useWorkingDirectory has children start where this process was started, and
// when that is gone, where it is now: also a deleted directory is one.
func useWorkingDirectory() {
	if _, err := os.Stat(firstDir); err != nil {
		engineDir = "."
		return
	}
	engineDir = firstDir
}

// AbsoluteName makes os.Args[0] independent of the working directory, which is
// where tableflip looks it up at each upgrade. Call it before the name is used
// for anything else. Only the first call does something.
func AbsoluteName() error { return absoluteName() }

var absoluteName = sync.OnceValue(useAbsoluteName)

// useAbsoluteName keeps symlinks: a link "current" must lead to the new release.
func useAbsoluteName() error {
	name := os.Args[0]
	if filepath.IsAbs(name) {
		return nil
	}
	if filepath.Base(name) == name {
		if found, err := exec.LookPath(name); err == nil {
			name = found
		}
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(firstDir, name)
	}
	if _, err := os.Stat(name); err != nil {
		// Started under a made-up name.
		if name, err = os.Executable(); err != nil {
			return err
		}
	}
	os.Args[0] = name
	return nil
}
