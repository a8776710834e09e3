package early

import (
	"strconv"
	"syscall"
	"testing"
)

// TestHasStart: an empty queue, and what another program sends, asks for nothing.
func TestHasStart(t *testing.T) {
	t.Parallel()
	const head = Magic + "\x00\x00\x00\x20"
	for _, c := range []struct {
		packet         string
		started, asked bool
	}{
		{"", false, false},
		{"GET / HTTP/1.1", false, false},
		{Magic, false, false},
		{head, false, false},
		{head + `{"type":"go"}`, false, false},
		{head + StartPrefix, true, false},
		{head + StartPrefix + `"protocol":1,"app":"hello"}`, true, false},
		{head + StartPrefix + `"between":false,"protocol":1}`, true, false},
		{head + StartPrefix + `"protocol":1,"between":true,"app":"hello"}`, true, false},
		{head + StartPrefix + `"between":true,"protocol":1,"app":"hello"}`, true, true},
		{"HTTP" + head[4:] + StartPrefix + AskBetween, false, false},
	} {
		for _, kind := range []int{syscall.SOCK_SEQPACKET, syscall.SOCK_STREAM} {
			fds, err := syscall.Socketpair(syscall.AF_UNIX, kind|syscall.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			if c.packet != "" {
				if _, err := syscall.Write(fds[1], []byte(c.packet)); err != nil {
					t.Fatal(err)
				}
			}
			ours := kind == syscall.SOCK_SEQPACKET
			for range 2 { // it is only looked at
				if started, asked := hasStart(fds[0]); started != (c.started && ours) || asked != (c.asked && ours) {
					t.Errorf("%q: started %t, asked %t", c.packet, started, asked)
				}
			}
			syscall.Close(fds[0])
			syscall.Close(fds[1])
		}
	}
}

func TestDecimal(t *testing.T) {
	t.Parallel()
	for _, n := range []uint64{0, 9, 10, 4711, 1<<64 - 1} {
		if got, want := decimal(n), strconv.FormatUint(n, 10); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
