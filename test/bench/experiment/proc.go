package experiment

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gracerun/grace/test/bench/peer"
)

// pss returns the proportional set size of all processes of a server, in bytes:
// a page that n processes have counts for 1/n in each, so that the sum is what
// they take together.
func pss(s *peer.Server) (bytes uint64, err error) {
	all, err := s.Processes()
	if err != nil {
		return 0, err
	}
	for _, p := range all {
		n, _, err := memoryOf(p.PID)
		if err != nil && !gone(err) {
			return 0, err
		}
		bytes += n
	}
	return bytes, nil
}

// gone reports whether err says that a process is not there any more. A zombie
// has no memory to read about.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) }

// memoryOf returns the proportional and the resident set size of a process, in
// bytes.
func memoryOf(pid int) (pss, rss uint64, err error) {
	file := fmt.Sprintf("/proc/%d/smaps_rollup", pid)
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(text)) {
		fmt.Sscanf(line, "Pss: %d kB", &pss)
		fmt.Sscanf(line, "Rss: %d kB", &rss)
	}
	if pss == 0 || rss == 0 {
		return 0, 0, fmt.Errorf("%s has no Pss and Rss", file)
	}
	return pss << 10, rss << 10, nil
}

// cpuTime returns how long the threads of a process have run. It is exact for
// threads that do not run at this moment.
func cpuTime(pid int) (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the thread has ended
		}
		if err != nil {
			return 0, err
		}
		ran, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(ran, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		sum += time.Duration(ns)
	}
	if sum == 0 {
		return 0, fmt.Errorf("pid %d: no schedstat in /proc", pid)
	}
	return sum, nil
}
