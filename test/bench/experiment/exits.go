package experiment

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/gracerun/grace/test/bench/peer"
)

// exits has a channel for each process that is watched: it brings the time of the
// exit, or is closed when nobody waits any longer.
type exits map[int]chan time.Time

// watchExits notes when each of the processes exits, until ctx ends.
func watchExits(ctx context.Context, s *peer.Server, list []int) exits {
	x := exits{}
	for _, pid := range list {
		at := make(chan time.Time, 1)
		x[pid] = at
		go func() {
			defer close(at)
			if s.Exited(ctx, pid) == nil {
				at <- time.Now()
			}
		}()
	}
	return x
}

// of waits for the exit of a process and returns when it was.
func (x exits) of(pid int) (time.Time, error) {
	at, ok := x[pid]
	if !ok {
		return time.Time{}, fmt.Errorf("pid %d is none of the old processes", pid)
	}
	exit, ok := <-at
	if !ok {
		return time.Time{}, fmt.Errorf("pid %d has not exited", pid)
	}
	return exit, nil
}

// A lastAnswer is the answer to a request that was in hand when the upgrade
// began.
type lastAnswer struct {
	pid int       // who answered: of a proxy, its own process
	at  time.Time // when it was complete
	err error
}

// askSleep makes a request that takes d, on a connection of its own.
func askSleep(address string, d time.Duration) (a lastAnswer) {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return lastAnswer{err: err}
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(d + 5*time.Second))
	if _, err := fmt.Fprintf(conn, "GET /sleep?d=%v HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n", d); err != nil {
		return lastAnswer{err: err}
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return lastAnswer{err: err}
	}
	body, err := io.ReadAll(resp.Body)
	a.at = time.Now()
	if err != nil {
		return lastAnswer{err: err}
	}
	a.pid, a.err = answerer(resp, body)
	return a
}

// answerer returns the pid of the process that answered: a proxy names its own in
// a header, the others do in the answer.
func answerer(resp *http.Response, body []byte) (pid int, err error) {
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("status %s", resp.Status)
	}
	if own := resp.Header.Get("X-Pid"); own != "" {
		return strconv.Atoi(own)
	}
	_, err = fmt.Sscanf(string(body), "generation 0 pid %d", &pid)
	return pid, err
}
