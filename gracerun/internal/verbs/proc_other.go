//go:build !linux

package verbs

import (
	"context"
	"errors"
	"os"
	"syscall"
)

func catches(int, syscall.Signal) (bool, error) { return false, errors.ErrUnsupported }
func ended(p *os.Process) bool                  { return errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone) }
func ofOwner(int, string) bool                  { return true }
func unitOf(context.Context, int) string        { return "" }
