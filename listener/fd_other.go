//go:build !unix

package listener

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"syscall"
)

func dup(name string, _ syscall.Conn) (*os.File, error) {
	return nil, &fs.PathError{Op: "dup", Path: name, Err: errors.ErrUnsupported}
}

func closeOnExec(*os.File) {}

func relisten(*net.UnixListener) error { return nil }

// fileID is not supported, so socket files are left to package net. Nothing can
// be handed over here anyway.
func fileID(path string) (dev, ino uint64, err error) {
	return 0, 0, &fs.PathError{Op: "lstat", Path: path, Err: errors.ErrUnsupported}
}
