package httpdrain

import (
	"fmt"
	"strings"
)

// Stats counts the connections of a [Server], each in one of the first four fields.
type Stats struct {
	New      int // no request yet: silent, or in the TLS handshake
	Active   int // a request is being received, handled or answered; HTTP/2: at least one stream is open
	Idle     int // between requests; HTTP/2: no stream is open
	Hijacked int // taken over by a handler (WebSocket), not closed yet
	HTTP2    int // how many of the above are drained as HTTP/2
	Expired  int // how many have been ended by the drain because they asked for nothing in time
}

// Total is the number of connections.
func (st Stats) Total() int { return st.New + st.Active + st.Idle + st.Hijacked }

// Stats returns the numbers of the moment. It looks at each connection, so it is for a status page
// rather than for every request.
func (s *Server) Stats() Stats {
	st := Stats{Expired: int(s.expired.Load())}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.mu.Lock()
		switch c.phase {
		case fresh:
			st.New++
		case active:
			st.Active++
		case idle:
			st.Idle++
		case hijacked:
			st.Hijacked++
		}
		if c.framed != nil {
			st.HTTP2++
		}
		c.mu.Unlock()
	}
	return st
}

// A CutError says what [Server.Drain] did not wait for any longer.
type CutError struct {
	Cut Stats // the connections as they were when they were cut
	Err error // the cause of the end of Drain's context
}

func (e *CutError) Error() string {
	var kinds []string
	add := func(n int, kind string) {
		if n > 0 {
			kinds = append(kinds, fmt.Sprintf("%d %s", n, kind))
		}
	}
	add(e.Cut.Active, "active")
	add(e.Cut.Hijacked, "hijacked")
	add(e.Cut.Idle, "idle")
	add(e.Cut.New, "new")
	if len(kinds) == 0 {
		return fmt.Sprintf("drain cut short: %v", e.Err)
	}
	return fmt.Sprintf("drain cut short, connections closed: %s: %v", strings.Join(kinds, ", "), e.Err)
}

// Unwrap returns e.Err.
func (e *CutError) Unwrap() error { return e.Err }
