//go:build !linux

package verbs

import (
	"errors"
	"os"
	"syscall"
)

func catches(int, syscall.Signal) (bool, error) { return false, errors.ErrUnsupported }
func ended(p *os.Process) bool                  { return errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone) }
func ofOwner(int, string) bool                  { return true }
