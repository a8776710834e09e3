package peer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
)

// ports gives each server its own, in turn. The first is chosen by chance, and what
// was given is held until close, so that two runs at a time do not get in each other's way.
type ports struct {
	mu   sync.Mutex
	last int   // 0 = none was given yet
	held []int // sockets
}

const (
	firstPort = 10_000
	portCount = 22_000
)

// free returns addresses on which nobody listens. They are below the range
// from which the kernel takes the ports of outgoing connections, so that no
// client's connection takes one while a server is away.
func (p *ports) free(n int) ([]string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == 0 {
		p.last = rand.N(portCount)
	}
	var list []string
	for tries := 0; len(list) < n; tries++ {
		if tries > portCount {
			return nil, fmt.Errorf("fewer than %d ports from %d on are free", n, firstPort)
		}
		p.last = (p.last + 1) % portCount
		fd, err := hold(firstPort + p.last)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return nil, err
		}
		p.held = append(p.held, fd)
		list = append(list, fmt.Sprintf("127.0.0.1:%d", firstPort+p.last))
	}
	return list, nil
}

// hold binds a socket to a port that nobody else is bound to. It does not listen: a
// server that sets SO_REUSEADDR, as all do, may listen beside it, and another hold fails.
func hold(port int) (fd int, err error) {
	syscall.ForkLock.RLock()
	fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	if err = syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err == nil {
		err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1) // only now
	}
	if err != nil {
		syscall.Close(fd)
		return 0, os.NewSyscallError("bind", err)
	}
	return fd, nil
}

func (p *ports) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, fd := range p.held {
		syscall.Close(fd)
	}
	p.held = nil
}
