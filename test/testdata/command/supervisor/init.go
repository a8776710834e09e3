//go:build linux

package main

import (
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// beInit returns in the service. The other process has no part in its name.
func beInit() {
	if len(os.Args) < 2 || os.Args[1] != "-init" {
		return
	}
	if os.Args[0] != "init" {
		check(syscall.Exec("/proc/self/exe", slices.Concat([]string{"init", "-init"}, os.Args), os.Environ()))
	}
	check(unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
	argv := slices.Delete(slices.Clone(os.Args[2:]), 1, 2)
	_, err := os.StartProcess(argv[0], argv, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Env: os.Environ()})
	check(err)
	for err != syscall.ECHILD {
		_, err = syscall.Wait4(-1, nil, 0, nil)
	}
	os.Exit(0)
}
