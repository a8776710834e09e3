package load

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"
)

// Target is where a client's requests go.
type Target struct {
	Network string        // as for [net.Dial]; "" = "tcp"
	Address string        // as for [net.Dial]; with "unix", a path
	TLS     *tls.Config   // nil = no TLS. ServerName "" = Address's host; NextProtos is the client's
	Timeout time.Duration // for a request as a whole, the dial included; 0 = 10 s. What a request asks for (Sleep, For, Pause) comes on top
}

func (t *Target) deadline(extra time.Duration) time.Time {
	d := t.Timeout
	if d <= 0 {
		d = 10 * time.Second
	}
	return time.Now().Add(d + extra)
}

// dial opens a connection, and in TLS agrees on proto.
func (t *Target) dial(ctx context.Context, proto string) (net.Conn, error) {
	network := t.Network
	if network == "" {
		network = "tcp"
	}
	var d net.Dialer
	nc, err := d.DialContext(ctx, network, t.Address)
	if err != nil || t.TLS == nil {
		return nc, err
	}
	cfg := t.TLS.Clone()
	cfg.NextProtos = []string{proto}
	if cfg.ServerName == "" {
		cfg.ServerName = t.host()
	}
	tc := tls.Client(nc, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	// A server without ALPN leaves it empty, and that means HTTP/1.1.
	if got := tc.ConnectionState().NegotiatedProtocol; got != proto && !(got == "" && proto == protoHTTP1) {
		tc.Close()
		return nil, fmt.Errorf("load: the server at %s speaks %q, not %q", t.Address, got, proto)
	}
	return tc, nil
}

// host returns the address's host, for TLS. The path of a unix socket is none.
func (t *Target) host() string {
	if host, _, err := net.SplitHostPort(t.Address); err == nil && host != "" {
		return host
	}
	return "localhost"
}

// authority returns what requests name as their host.
func (t *Target) authority() string {
	if _, port, err := net.SplitHostPort(t.Address); err == nil {
		return net.JoinHostPort(t.host(), port)
	}
	return t.host()
}
