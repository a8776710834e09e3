package experiment

import (
	"time"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/load"
)

// lightClients is how many clients there are in light.
const lightClients = 4

// light returns a load of some 150 requests a second: enough that a loss is
// noticed, and nothing to a server. No connection idles for longer than 30 ms.
func light(s *peer.Server) []load.Group {
	const think, thinkMax = 20 * time.Millisecond, 30 * time.Millisecond
	t := targetsOf(s)
	return []load.Group{
		{Kind: "keep-alive", N: 2, Think: think, ThinkMax: thinkMax, New: func() load.Client {
			return &load.KeepAlive{Target: t.plain, Look: true, Get: 2}
		}},
		{Kind: "fresh", N: 2, Think: think, ThinkMax: thinkMax, New: func() load.Client {
			return &load.Fresh{Target: t.plain}
		}},
	}
}
