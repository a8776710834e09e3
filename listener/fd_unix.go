//go:build unix

package listener

import (
	"io/fs"
	"math"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// dup returns a file with a duplicate of c's descriptor. It does not go through
// a File method or os.File.Fd: these make the open file description blocking,
// which all duplicates share, and on a blocking listener Accept ignores
// deadlines and Close hangs.
func dup(name string, c syscall.Conn) (*os.File, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, &fs.PathError{Op: "dup", Path: name, Err: err}
	}
	var fd int
	var ferr error
	err = raw.Control(func(old uintptr) {
		fd, ferr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err == nil {
		err = os.NewSyscallError("fcntl", ferr)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "dup", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// closeOnExec keeps f from the commands that the process runs.
func closeOnExec(f *os.File) {
	if raw, err := f.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.CloseOnExec(int(fd)) })
	}
}

// relisten makes this process the one that SO_PEERCRED shows to clients. The
// kernel cuts the backlog down to its maximum (net.core.somaxconn on Linux),
// which is what package net asks for too.
func relisten(ln *net.UnixListener) error {
	raw, err := ln.SyscallConn()
	if err != nil {
		return err
	}
	var lerr error
	if err := raw.Control(func(fd uintptr) { lerr = unix.Listen(int(fd), math.MaxInt32) }); err != nil {
		return err
	}
	return os.NewSyscallError("listen", lerr)
}

// fileID identifies the file at path. A symbolic link stands for itself.
func fileID(path string) (dev, ino uint64, err error) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, 0, err
	}
	st := info.Sys().(*syscall.Stat_t)
	return uint64(st.Dev), uint64(st.Ino), nil
}
