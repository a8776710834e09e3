package gracerun

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// A place is where the files of a service are. All paths are absolute: somebody
// may change the working directory, and a daemon does.
type place struct {
	dir     string // the run directory
	mode    fs.FileMode
	private bool // it is in everybody's directory for temporary files
	pidFile string
	socket  string // the control socket
}

// place says where; it makes nothing. Relative paths begin at base.
func (a *App) place(base string) (place, error) { return a.placeIn(base, "") }

// placeIn is place for a process whose predecessor had chosen a run directory:
// its user, and its environment, may be others by now.
func (a *App) placeIn(base, chosen string) (place, error) {
	p := place{dir: cmp.Or(a.RunDir, chosen), mode: 0o755}
	switch name := a.name(); {
	case p.dir != "":
	case os.Getenv(runtimeDirectory) != "":
		// The first of several, separated by colons (systemd.exec(5)).
		p.dir = filepath.SplitList(os.Getenv(runtimeDirectory))[0]
	case os.Geteuid() == 0:
		p.dir = systemDir(name)
	case os.Getenv("XDG_RUNTIME_DIR") != "":
		p.dir, p.mode = filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), name), 0o700
	default:
		p.dir, p.mode = filepath.Join(os.TempDir(), name+"-"+strconv.Itoa(os.Getuid())), 0o700
		p.private = true
	}
	p.dir = below(base, p.dir)
	p.pidFile = filepath.Join(p.dir, a.name()+".pid")
	p.socket = filepath.Join(p.dir, a.name()+".sock")
	if a.PIDFile != "" {
		p.pidFile = below(base, a.PIDFile)
	}
	if !filepath.IsAbs(p.dir) || !filepath.IsAbs(p.pidFile) {
		return place{}, errNoDir
	}
	return p, nil
}

var errNoDir = errors.New("the working directory is gone: set App.RunDir and App.PIDFile to absolute paths, or start from another")

func below(base, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(base, path)
}

// workingDirectory is "" where there is none.
func workingDirectory() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	return dir
}

// runtimeDirectory is the variable in which systemd says where the run directory is.
const runtimeDirectory = "RUNTIME_DIRECTORY"

// systemDir is the run directory of a service that root starts.
func systemDir(name string) string { return filepath.Join("/run", name) }

// make makes the run directory.
func (p place) make() error {
	if err := os.MkdirAll(p.dir, p.mode); err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	if p.private {
		return checkPrivate(p.dir)
	}
	return nil
}

// checkPrivate refuses a directory that somebody else could have prepared: the
// place for temporary files is everybody's.
func checkPrivate(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() || info.Mode().Perm()&0o077 != 0 || !ownedByUs(info) {
		return &fs.PathError{Op: "use", Path: dir, Err: errors.New("it is not a private directory (mode 0700) of this user: remove it, or set App.RunDir")}
	}
	return nil
}
