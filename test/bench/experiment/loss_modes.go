package experiment

import (
	"time"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/load"
)

// A mode is one way to be a client. No mode ever sends a request twice.
type mode struct {
	name  string
	needs peer.Set
	idles bool // its connections are idle for longer than gracerun's Linger: counted apart

	n               int // clients
	think, thinkMax time.Duration
	client          func(targets) func() load.Client
}

// modes returns all, in the order of the tables. Together they make some 1,300
// requests a second, which is far from what a server can bear.
func modes() []mode {
	const (
		busy    = 20 * time.Millisecond
		thought = 200 * time.Millisecond  // well below Linger, on a busy machine too
		linger  = 1000 * time.Millisecond // gracerun's default
		long    = 1500 * time.Millisecond
	)
	return []mode{
		{name: "fresh GET", n: 4, think: busy, client: func(t targets) func() load.Client {
			return func() load.Client { return &load.Fresh{Target: t.plain, Get: true} }
		}},
		{name: "fresh POST", n: 4, think: busy, client: func(t targets) func() load.Client {
			return func() load.Client { return &load.Fresh{Target: t.plain} }
		}},
		{name: "keep-alive, looks", n: 16, thinkMax: thought, client: keepAlive(true, -1)},
		{name: "keep-alive POST", n: 16, thinkMax: thought, client: keepAlive(false, -1)},
		{name: "keep-alive GET", n: 16, thinkMax: thought, client: keepAlive(false, 1)},
		{name: "TLS", needs: peer.TLS, n: 16, thinkMax: thought, client: func(t targets) func() load.Client {
			return func() load.Client { return &load.KeepAlive{Target: t.tls} }
		}},
		{name: "HTTP/2", needs: peer.TLS, n: 32, thinkMax: thought, client: func(t targets) func() load.Client {
			shared := &load.HTTP2{Target: t.tls, Conns: 4}
			return func() load.Client { return shared }
		}},
		{name: "slow", n: 4, think: busy, client: func(t targets) func() load.Client {
			return func() load.Client { return &load.Slow{Target: t.plain, Sleep: 300 * time.Millisecond} }
		}},
		{name: "stream", n: 4, think: busy, client: func(t targets) func() load.Client {
			return func() load.Client { return &load.Stream{Target: t.plain, For: time.Second} }
		}},
		{name: "raw TCP", needs: peer.Raw, n: 8, think: busy, client: func(t targets) func() load.Client {
			return func() load.Client { return &load.TCP{Target: t.raw, Pause: 50 * time.Millisecond} }
		}},
		{name: "idle, does not look", idles: true, n: 16, think: linger, thinkMax: long, client: keepAlive(false, 0)},
		{name: "idle, looks", idles: true, n: 16, think: linger, thinkMax: long, client: keepAlive(true, 0)},
	}
}

func keepAlive(look bool, get int) func(targets) func() load.Client {
	return func(t targets) func() load.Client {
		return func() load.Client { return &load.KeepAlive{Target: t.plain, Look: look, Get: get} }
	}
}

// groups returns the clients of every mode that a server can serve.
func groups(s *peer.Server) []load.Group {
	t := targetsOf(s)
	var list []load.Group
	for _, m := range modes() {
		if s.Can(m.needs) {
			list = append(list, load.Group{Kind: m.name, N: m.n, Think: m.think, ThinkMax: m.thinkMax, New: m.client(t)})
		}
	}
	return list
}
