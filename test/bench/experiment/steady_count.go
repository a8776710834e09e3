package experiment

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// forAllocations is how many requests are made to count what each allocates.
const forAllocations = 5000

// countAllocations notes how many objects a request allocates. What the question
// itself costs is subtracted.
func (r *running) countAllocations(ctx context.Context) error {
	var m [3]runtime.MemStats
	for i := range m {
		if i == 2 {
			if err := calls(r.HTTP[0], forAllocations); err != nil {
				return err
			}
		}
		text, err := r.Get(ctx, "/memstats")
		if err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(text), &m[i]); err != nil {
			return err
		}
	}
	question := m[1].Mallocs - m[0].Mallocs
	r.allocations = float64(m[2].Mallocs-m[1].Mallocs-question) / forAllocations
	return nil
}

// callCount has numbers of system calls.
type callCount struct {
	connections float64 // with a socket: read, write, setsockopt ...
	others      float64
	scheduler   float64 // the runtime's way to wait and to wake up, which is different each time
}

// countCalls notes which system calls each of n requests costs, if strace is there.
func (r *running) countCalls(ctx context.Context, n int) error {
	strace, err := exec.LookPath("strace")
	if err != nil {
		return fmt.Errorf("system calls are not counted: %w (apt-get install strace)", err)
	}
	dir, err := os.MkdirTemp("", "gracerun-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "calls")
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	// All threads, successful calls only, with what descriptors are.
	cmd := exec.CommandContext(ctx, strace, "-f", "-z", "-y", "-p", strconv.Itoa(r.Newest()), "-o", out)
	if err := traced(cmd, func() error { return callSlowly(r.HTTP[0], n) }); err != nil {
		return fmt.Errorf("system calls are not counted: strace: %w", err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		return err
	}
	count := parseCalls(string(text))
	r.calls = &callCount{count.connections / float64(n), count.others / float64(n), count.scheduler / float64(n)}
	return nil
}

// callSlowly makes n requests, and pauses after each. Without, the next one is at
// times there before net/http has given up to watch the connection for its end,
// and is read in two parts.
func callSlowly(address string, n int) error {
	c, err := dialCaller(address)
	if err != nil {
		return err
	}
	defer c.close()
	for range n {
		if err := c.call(1); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// traced runs f while strace is attached. An interrupt detaches it.
func traced(strace *exec.Cmd, f func() error) error {
	stderr, err := strace.StderrPipe()
	if err != nil {
		return err
	}
	if err := strace.Start(); err != nil {
		return err
	}
	said := bufio.NewScanner(stderr)
	if said.Scan() && strings.Contains(said.Text(), "attached") {
		err = f()
	} else {
		err = errors.New(said.Text())
	}
	strace.Process.Signal(os.Interrupt)
	for said.Scan() { // until it has said all: Wait closes the pipe
	}
	strace.Wait() // its status is that of the interrupt
	return err
}

// parseCalls counts the calls of a trace, which has lines such as
//
//	123 read(7<socket:[456]>, "GET / HTTP/1.1"..., 4096) = 30
func parseCalls(trace string) (count callCount) {
	for line := range strings.Lines(trace) {
		_, call, _ := strings.Cut(line, " ")
		name, args, ok := strings.Cut(strings.TrimSpace(call), "(")
		if !ok {
			continue // a signal, or the end of a thread
		}
		first, _, _ := strings.Cut(args, ",")
		switch {
		case strings.Contains(first, "<socket:"):
			count.connections++
		case strings.Contains(first, "<anon_inode:[event"), slices.Contains(schedulers(), name):
			count.scheduler++
		default:
			count.others++
		}
	}
	return count
}

func schedulers() []string {
	return []string{"futex", "nanosleep", "sched_yield", "restart_syscall", "tgkill", "rt_sigreturn", "madvise"}
}
