package pidfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
)

// lockHolders asks every process, whatever its name, for the lock of the file at name.
func lockHolders(name string) ([]int, error) {
	id, err := lockID(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, missingProc()
	}
	if err != nil {
		return nil, err
	}
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, p := range processes {
		pid, err := strconv.Atoi(p.Name())
		if err != nil { // "self", "locks"
			continue
		}
		if holds, err := descriptorsHold(pid, id); err == nil && holds {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

// missingProc returns the error of what needs /proc, if there is none.
func missingProc() error {
	if _, err := os.Stat("/proc/self/fdinfo"); err != nil {
		return fmt.Errorf("/proc is not mounted: %w", errors.ErrUnsupported)
	}
	return nil
}
