//go:build !unix

package main

import (
	"os"
	"os/exec"
)

// windowWidth returns -1: no terminal that could be asked.
func windowWidth(*os.File) int { return -1 }

// endWithChildren does nothing: there are no process groups.
func endWithChildren(*exec.Cmd) {}
