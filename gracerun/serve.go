package gracerun

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/gracerun/grace/gracerun/internal/httpdrain"
	"github.com/gracerun/grace/listener"
)

// Server is what accepts connections. *[http.Server] is one.
type Server interface {
	// Serve accepts from the listener until Shutdown.
	Serve(net.Listener) error
	// Shutdown stops accepting, and returns when all work is finished or the
	// context has ended.
	Shutdown(context.Context) error
}

// PacketServer is what reads packets. *http3.Server is one.
type PacketServer interface {
	// Serve reads from the connection until Shutdown, or until a read fails
	// with [os.ErrDeadlineExceeded] that is no deadline of its own: that is
	// how the drain begins.
	Serve(net.PacketConn) error
	Shutdown(context.Context) error
}

// Funcs makes a Server of two functions: for gRPC, fasthttp and others. It is
// drained by ShutdownFunc alone, which should finish what is in hand; nil means
// that closing the listener is all.
type Funcs struct {
	ServeFunc    func(net.Listener) error
	ShutdownFunc func(context.Context) error
}

// Serve calls ServeFunc.
func (f Funcs) Serve(ln net.Listener) error { return f.ServeFunc(ln) }

// Shutdown calls ShutdownFunc, if there is one.
func (f Funcs) Shutdown(ctx context.Context) error {
	if f.ShutdownFunc == nil {
		return nil
	}
	return f.ShutdownFunc(ctx)
}

// PacketFuncs makes a PacketServer of two functions. A nil ShutdownFunc means
// that the end of reading is all: ServeFunc must return when a read fails with
// [os.ErrDeadlineExceeded].
type PacketFuncs struct {
	ServeFunc    func(net.PacketConn) error
	ShutdownFunc func(context.Context) error
}

// Serve calls ServeFunc.
func (f PacketFuncs) Serve(c net.PacketConn) error { return f.ServeFunc(c) }

// Shutdown calls ShutdownFunc, if there is one.
func (f PacketFuncs) Shutdown(ctx context.Context) error {
	if f.ShutdownFunc == nil {
		return nil
	}
	return f.ShutdownFunc(ctx)
}

// TLS has srv serve TLS on the address it is registered for, as
// [http.Server.ServeTLS] does: with HTTP/2, and drained without losing a request.
// With certFile and keyFile "" the certificates are those of srv.TLSConfig. The
// same srv may serve other addresses without TLS.
func TLS(srv *http.Server, certFile, keyFile string) Server {
	return &tlsServer{
		srv:         srv,
		certificate: func() error { return checkCertificate(srv.TLSConfig, certFile, keyFile) },
		serve:       func(s servesTLS, ln net.Listener) error { return s.ServeTLS(ln, certFile, keyFile) },
	}
}

// A tlsServer has functions, so that a program that does not call TLS is linked
// without the server half of crypto/tls, which is half a megabyte.
type tlsServer struct {
	srv         *http.Server
	certificate func() error // finds now what would make serve fail when the generation is said to serve
	serve       func(servesTLS, net.Listener) error
}

// servesTLS is an *http.Server, or what drains it.
type servesTLS interface {
	ServeTLS(ln net.Listener, certFile, keyFile string) error
}

func (t *tlsServer) Serve(ln net.Listener) error { return t.serve(t.srv, ln) }

func (t *tlsServer) Shutdown(ctx context.Context) error { return t.srv.Shutdown(ctx) }

// Serve has s accept connections on an address: network is "tcp", "tcp4",
// "tcp6", "unix" or "unixpacket", address as for [net.Listen]. The same s may
// serve several addresses.
//
// A socket that a service manager opened for that very address (systemd.socket(5)) is
// the one that is served. With the network "systemd" the address is the name of such
// sockets, FileDescriptorName= there: all streams of that name are served, and if there
// is none the service does not start. What was passed is kept over upgrades, also while
// nobody serves it, and its file is never removed.
//
// An *[http.Server], and what [TLS] returns, is drained without losing a
// request. A [ConnServer] waits for its handlers. Any other Server, also a type
// that embeds an *http.Server, is drained by its own Shutdown, and loses what
// that loses.
func (a *App) Serve(network, address string, s Server) {
	a.register(fmt.Sprintf("Serve(%q, %q)", network, address), func(r *registry) error {
		if err := checkServer(s); err != nil {
			return err
		}
		return r.add(network, address, s, "tcp", "tcp4", "tcp6", "unix", "unixpacket", networkSystemd)
	})
}

// ServePacket has s read from a packet socket: network is "udp", "udp4", "udp6"
// or "unixgram", address as for [net.ListenPacket], or "systemd" and a name as for
// [App.Serve]. s gets the *[net.UDPConn] or
// *[net.UnixConn] itself.
//
// Until the commit both generations read from the socket, and the kernel gives
// each packet to one of them. The drain ends the reading of the old one by a
// deadline in the past, then calls Shutdown, then closes the socket.
func (a *App) ServePacket(network, address string, s PacketServer) {
	a.register(fmt.Sprintf("ServePacket(%q, %q)", network, address), func(r *registry) error {
		if err := checkServer(s); err != nil {
			return err
		}
		return r.add(network, address, s, "udp", "udp4", "udp6", "unixgram", networkSystemd)
	})
}

// checkServer finds what would be a nil call at the first connection.
func checkServer(s any) error {
	if isNil(s) {
		return errServerNil
	}
	if c, ok := s.(interface{ check() error }); ok {
		return c.check()
	}
	return nil
}

var (
	errServerNil = errors.New("the server is nil")
	errServeFunc = errors.New("its ServeFunc is nil")
)

func (t *tlsServer) check() error  { return errorIf(t.srv == nil, errServerNil) }
func (f Funcs) check() error       { return errorIf(f.ServeFunc == nil, errServeFunc) }
func (f PacketFuncs) check() error { return errorIf(f.ServeFunc == nil, errServeFunc) }
func (c ConnServer) check() error  { return errorIf(c.Handle == nil, errors.New("its Handle is nil")) }

func errorIf(is bool, err error) error {
	if is {
		return err
	}
	return nil
}

// An address is one socket of a server.
type address struct {
	network, address string
	takes            []string // networks
	server           server
	tls              *tlsServer // nil = no TLS

	ln    net.Listener
	conn  net.PacketConn
	ended chan struct{} // closed when the server has returned
}

func (ad *address) String() string { return ad.network + " " + ad.address }

// add registers an address, and the server unless it is known already.
func (r *registry) add(network, addr string, s any, networks ...string) error {
	if !slices.Contains(networks, network) {
		return fmt.Errorf("no such network here: it takes %s (Serve is for streams, ServePacket for packets)", strings.Join(networks, ", "))
	}
	if _, port, err := net.SplitHostPort(addr); err != nil || port != "0" { // each :0 gets a port of its own
		if err := r.take(network + ":" + addr); err != nil {
			return err
		}
	}
	ad := &address{network: network, address: addr, takes: networks, ended: make(chan struct{})}
	if t, ok := s.(*tlsServer); ok {
		ad.tls, s = t, t.srv
	}
	ad.server = r.server(s)
	r.addresses = append(r.addresses, ad)
	return nil
}

func (r *registry) server(s any) server {
	if reflect.ValueOf(s).Comparable() {
		for _, known := range r.servers {
			if k := known.registered(); reflect.ValueOf(k).Comparable() && k == s {
				return known
			}
		}
	}
	var sv server
	switch s := s.(type) {
	case *http.Server:
		sv = &httpServer{srv: s}
	case ConnServer:
		sv = &connServer{s: s, key: s}
	case *ConnServer:
		sv = &connServer{s: *s, key: s}
	case Server:
		sv = &plainServer{s: s}
	case PacketServer:
		sv = &packetServer{s: s}
	}
	r.servers = append(r.servers, sv)
	return sv
}

// A server is how the App serves, drains and counts one kind of Server.
type server interface {
	registered() any                                // what the user gave
	begin(l *life)                                  // before serve; once
	serve(ad *address) error                        // until drain
	drain(ctx context.Context, at []*address) error // ctx ends with the deadline
	inHand() int
}

// open adopts or opens the socket, and finds what would make serve fail at once.
func (ad *address) open(ctx context.Context, set *listener.Set) (err error) {
	switch ad.network {
	case "udp", "udp4", "udp6", "unixgram":
		ad.conn, err = set.ListenPacket(ctx, ad.network, ad.address)
	default:
		ad.ln, err = set.Listen(ctx, ad.network, ad.address)
	}
	if err == nil && ad.tls != nil {
		if err = ad.tls.certificate(); err != nil {
			err = fmt.Errorf("%v: %w", ad, err)
		}
	}
	return err
}

// httpServer drains an *http.Server without losing a request.
type httpServer struct {
	srv     *http.Server
	drainer *httpdrain.Server
}

func (h *httpServer) registered() any { return h.srv }

func (h *httpServer) begin(l *life) {
	h.drainer = httpdrain.New(h.srv, httpdrain.Options{Linger: l.linger, Context: l.end.attach, BeforeAccept: l.yield.pause})
}

func (h *httpServer) serve(ad *address) error {
	if ad.tls != nil {
		return ad.tls.serve(h.drainer, ad.ln)
	}
	return h.drainer.Serve(ad.ln)
}

func (h *httpServer) drain(ctx context.Context, _ []*address) error { return h.drainer.Drain(ctx) }

func (h *httpServer) inHand() int {
	st := h.drainer.Stats()
	return st.Active + st.Hijacked
}

// plainServer is drained by its own Shutdown.
type plainServer struct{ s Server }

func (p *plainServer) registered() any         { return p.s }
func (p *plainServer) begin(*life)             {}
func (p *plainServer) serve(ad *address) error { return p.s.Serve(ad.ln) }
func (p *plainServer) inHand() int             { return 0 } // it does not say

func (p *plainServer) drain(ctx context.Context, at []*address) error {
	err := p.s.Shutdown(ctx)
	for _, ad := range at {
		ad.ln.Close()
	}
	return errors.Join(err, waitEnded(ctx, at))
}

// packetServer is stopped by a read deadline: closing the socket would cut the
// replies in hand.
type packetServer struct{ s PacketServer }

func (p *packetServer) registered() any         { return p.s }
func (p *packetServer) begin(*life)             {}
func (p *packetServer) serve(ad *address) error { return p.s.Serve(ad.conn) }
func (p *packetServer) inHand() int             { return 0 } // it does not say

func (p *packetServer) drain(ctx context.Context, at []*address) error {
	for _, ad := range at {
		ad.conn.SetReadDeadline(past)
	}
	err := p.s.Shutdown(ctx)
	err = errors.Join(err, waitEnded(ctx, at))
	for _, ad := range at {
		ad.conn.Close()
	}
	return err
}

// waitEnded waits until a server has returned from all its addresses.
func waitEnded(ctx context.Context, at []*address) error {
	for _, ad := range at {
		select {
		case <-ad.ended:
		case <-ctx.Done():
			return fmt.Errorf("%v: its Serve has not returned: %w", ad, context.Cause(ctx))
		}
	}
	return nil
}

// checkCertificate finds what ServeTLS would find.
func checkCertificate(cfg *tls.Config, certFile, keyFile string) error {
	if certFile == "" && keyFile == "" {
		if cfg == nil || len(cfg.Certificates) == 0 && cfg.GetCertificate == nil && cfg.GetConfigForClient == nil {
			return errors.New("no certificate: give TLS its files, or set the server's TLSConfig")
		}
		return nil
	}
	_, err := tls.LoadX509KeyPair(certFile, keyFile)
	return err
}
