package peer

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// ports gives each server its own, in turn. The first is chosen by chance, so
// that two runs at a time do not get in each other's way.
type ports struct {
	mu   sync.Mutex
	last int // 0 = none was given yet
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
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", firstPort+p.last))
		if err != nil {
			continue
		}
		list = append(list, ln.Addr().String())
		ln.Close()
	}
	return list, nil
}
