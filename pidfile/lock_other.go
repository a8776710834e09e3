//go:build !(linux || darwin || dragonfly || freebsd || netbsd || openbsd)

package pidfile

import (
	"errors"
	"io/fs"
	"os"
)

func openFile(name string, _ int) (*os.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: errors.ErrUnsupported}
}

func tryLock(*os.File) error           { return errors.ErrUnsupported }
func probeLock(*os.File) (bool, error) { return false, errors.ErrUnsupported }
func checkHeld(*os.File) error         { return errors.ErrUnsupported }
func ownerOf(fs.FileInfo) int          { return 0 }
