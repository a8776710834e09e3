//go:build linux

package test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gracerun/grace/test/harness"
)

// A census counts what a process has.
type census struct {
	fds        string
	goroutines int
}

// count takes the census of the one process that answers. all is what it counted,
// by name.
func (s *scene) count() (c census, all string) {
	s.t.Helper()
	s.until(func() bool {
		conn, profile := s.profile()
		defer conn.Close()
		if connections(profile) != 1 { // ours: another client's is about to end
			return false
		}
		_, err := fmt.Sscanf(profile, "goroutine profile: total %d", &c.goroutines)
		s.must(err)
		fds, err := harness.OpenFDs(s.owner())
		s.must(err)
		c.fds, all = fds.String(), fds.List()+profile
		return true
	}, "other clients have connections")
	return c, all
}

// profile returns all goroutines, and the connection on which it asked for them.
func (s *scene) profile() (net.Conn, string) {
	s.t.Helper()
	address, err := s.Address()
	s.must(err)
	conn, err := net.Dial("tcp", address)
	s.must(err)
	fmt.Fprint(conn, "GET /goroutines HTTP/1.1\r\nHost: service\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	s.must(err)
	text, err := io.ReadAll(resp.Body)
	s.must(err)
	return conn, string(text)
}

// steadyCount waits until nothing changes any more: what ends, ends a moment after
// it has been seen to.
func (s *scene) steadyCount() census {
	s.t.Helper()
	last, _ := s.count()
	for same := 0; same < 5; same++ {
		next, _ := s.count()
		if next != last {
			last, same = next, 0
		}
	}
	return last
}

// connections counts the HTTP connections in a goroutine profile, in which
// each paragraph is a number of goroutines and their common stack.
func connections(profile string) (sum int) {
	_, stacks, _ := strings.Cut(profile, "\n") // its title
	for stack := range strings.SplitSeq(stacks, "\n\n") {
		if strings.Contains(stack, "net/http.(*conn).serve+") {
			var n int
			fmt.Sscan(stack, &n)
			sum += n
		}
	}
	return sum
}

// countsAs waits until the census of the process that answers is this one.
func (s *scene) countsAs(want census) {
	s.t.Helper()
	deadline := time.Now().Add(3 * time.Second)
	for {
		got, all := s.count()
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			s.t.Errorf("leak: %+v, without the fault it is %+v\n%s", got, want, all)
			return
		}
	}
}

// successor is the census of a later generation that has seen no fault.
var successor struct {
	sync.Mutex
	census
}

func normalSuccessor(t testing.TB) census {
	successor.Lock()
	defer successor.Unlock()
	if successor.fds == "" {
		s := newScene(t, times{}, nil)
		s.upgrade()
		s.alone()
		successor.census = s.steadyCount()
		s.finish()
	}
	return successor.census
}
