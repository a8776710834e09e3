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

// absoluteName calls useAbsoluteName, once also for two Apps.
var absoluteName = sync.OnceValue(useAbsoluteName)

// useAbsoluteName makes os.Args[0], which tableflip looks up in the current
// directory at each upgrade, independent of it. Symlinks stay: a link "current"
// must lead to the new release.
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
