package gracerun

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// runDir returns the App's run directory, and makes it.
func (a *App) runDir() (string, error) {
	dir, mode := a.RunDir, fs.FileMode(0o755)
	private := false
	switch name := a.name(); {
	case dir != "":
	case os.Getenv("RUNTIME_DIRECTORY") != "":
		// The first of several, separated by colons (systemd.exec(5)).
		dir = filepath.SplitList(os.Getenv("RUNTIME_DIRECTORY"))[0]
	case os.Geteuid() == 0:
		dir = filepath.Join("/run", name)
	case os.Getenv("XDG_RUNTIME_DIR") != "":
		dir, mode = filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), name), 0o700
	default:
		dir, mode = filepath.Join(os.TempDir(), name+"-"+strconv.Itoa(os.Getuid())), 0o700
		private = true
	}
	dir, err := filepath.Abs(dir) // before anybody changes the working directory
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, mode); err != nil {
		return "", fmt.Errorf("run directory: %w", err)
	}
	if private {
		return dir, checkPrivate(dir)
	}
	return dir, nil
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

func (a *App) pidPath(runDir string) (string, error) {
	if a.PIDFile != "" {
		return filepath.Abs(a.PIDFile)
	}
	return filepath.Join(runDir, a.name()+".pid"), nil
}
