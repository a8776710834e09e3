package daemon

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"math"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// forwarderVariable is in the environment of a process that is to be a forwarder.
// Its value is one of the two parts.
const (
	forwarderVariable = "GRACERUN_FORWARDER"
	partBetween       = "between"
	partForwarder     = "forwarder"
)

// The order is the one packet in a socket, and the answer comes back there.
const (
	orderSocket = 3
	orderMagic  = "GRUNLOG" // begins the packet
	maxOrder    = 8 << 10
	forwarding  = "ok" // another answer says what went wrong
)

// An order is what a forwarder is told: where the lines on its standard input go.
type order struct {
	Name   string // of the service
	Output string // Journal or Syslog
	Socket string // its path
}

// This process may be a forwarder. Then nothing of the service's runs in it: main is
// never reached.
var _ = beForwarder()

// beForwarder returns in every other process. The variable alone proves nothing, for
// commands inherit variables: the proof is the packet, which can be read only once.
func beForwarder() (no bool) {
	part := os.Getenv(forwarderVariable)
	if part == "" {
		return false
	}
	switch o, ok := readOrder(part == partBetween); {
	case !ok:
		return false
	case part == partBetween:
		standBetween(o)
	default:
		o.forward()
	}
	os.Exit(0)
	return false
}

func readOrder(peek bool) (o order, ok bool) {
	kind, err := unix.GetsockoptInt(orderSocket, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_SEQPACKET {
		return o, false
	}
	flags := unix.MSG_DONTWAIT
	if peek {
		flags |= unix.MSG_PEEK
	}
	text := make([]byte, maxOrder)
	n, _, err := unix.Recvfrom(orderSocket, text, flags)
	if err != nil {
		return o, false
	}
	text, ok = bytes.CutPrefix(text[:n], []byte(orderMagic))
	return o, ok && json.Unmarshal(text, &o) == nil
}

// standBetween starts the forwarder and ends: so it is nobody's child, for whom
// nobody need wait, and in a session that it does not lead. No descriptor that a
// library outside Go's control left open goes on to it, from Linux 5.11 on.
func standBetween(o order) {
	unix.CloseRange(orderSocket+1, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	os.Setenv(forwarderVariable, partForwarder)
	_, err := syscall.ForkExec(os.Args[0], []string{o.title()}, &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, 1, 2, orderSocket},
	})
	if err != nil {
		unix.Write(orderSocket, []byte("start it: "+err.Error()))
	}
}

// title is what ps(1) shows.
func (o order) title() string { return o.Name + ": log to " + o.Output }

// forward sends lines until all who could write them are gone. A signal to all
// processes of the service does not end it: their last words are on their way.
func (o order) forward() {
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGPIPE)
	os.WriteFile("/proc/self/comm", []byte(o.title()), 0) // for those who show no arguments
	unix.Write(orderSocket, []byte(forwarding))
	unix.Close(orderSocket)
	s := newSink(o)
	sendLines(os.Stdin, s)
	s.close()
}

// maxLine is the length from which on a line is sent in pieces. It fits into a
// datagram, and is what syslog daemons take.
const maxLine = 8 << 10

// sendLines gives each line of r to s, until the end.
func sendLines(r io.Reader, s *sink) {
	lines := bufio.NewReaderSize(r, maxLine)
	for level, begun := prioInfo, false; ; {
		line, more, err := lines.ReadLine()
		if err != nil {
			return
		}
		if !begun {
			level, line = priority(line)
		}
		if begun = more; len(line) > 0 {
			s.put(entry{time.Now(), level, bytes.Clone(line)})
		}
	}
}
