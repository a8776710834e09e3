package experiment

import (
	"crypto/tls"
	"time"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/load"
)

// targets are where a server is asked.
type targets struct{ plain, tls, raw load.Target }

func targetsOf(s *peer.Server) targets {
	const limit = 5 * time.Second
	return targets{
		plain: load.Target{Address: s.HTTP[0], Timeout: limit},
		raw:   load.Target{Address: s.Raw, Timeout: limit},
		// The certificate is made for the run, and not what is tested.
		tls: load.Target{Address: s.TLS, Timeout: limit, TLS: &tls.Config{InsecureSkipVerify: true}},
	}
}
