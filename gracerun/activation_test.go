package gracerun

import (
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/gracerun/grace/gracerun/internal/systemd"
)

// TestActivate: what was passed stands in the place of what is registered.
func TestActivate(t *testing.T) {
	t.Parallel()
	passed := systemd.Sockets{
		{Name: "web", Network: "tcp4", Address: "0.0.0.0:80"},
		{Name: "web", Network: "tcp6", Address: "[::]:80"},
		{Name: "web", Network: "udp4", Address: "0.0.0.0:443"},
		{Name: "local", Network: "unix", Address: "/run/x.sock"},
		{Name: "fifo"},
	}
	for _, test := range []struct {
		passed   systemd.Sockets
		register func(*App)
		want     string // addresses, or the error
	}{
		{nil, func(a *App) { a.Serve("tcp", ":80", newStill()) }, "tcp :80"},
		{passed, func(a *App) { a.Serve("tcp", ":80", newStill()) }, "tcp4 0.0.0.0:80, tcp6 [::]:80"},
		{passed, func(a *App) { a.Serve("tcp4", ":80", newStill()) }, "tcp4 0.0.0.0:80"},
		{passed, func(a *App) { a.Serve("tcp", ":81", newStill()) }, "tcp :81"},
		{passed, func(a *App) { a.Serve("unix", "/run/x.sock", newStill()) }, "unix /run/x.sock"},
		{passed, func(a *App) { a.Serve("systemd", "web", newStill()) }, "tcp4 0.0.0.0:80, tcp6 [::]:80"},
		{passed, func(a *App) { a.ServePacket("systemd", "web", packets()) }, "udp4 0.0.0.0:443"},
		{passed, func(a *App) { a.ServePacket("udp", ":443", packets()) }, "udp4 0.0.0.0:443"},
		{passed, func(a *App) { a.Serve("systemd", "local", newStill()); a.Serve("tcp", ":81", newStill()) }, "unix /run/x.sock, tcp :81"},
		{passed, func(a *App) { a.ServePacket("systemd", "local", packets()) },
			`systemd local: the socket of this name is a unix one (Serve is for streams, ServePacket for packets)`},
		{passed[2:], func(a *App) { a.Serve("systemd", "admin", newStill()) },
			`systemd admin: no socket of this name was passed, but "web" (udp4 0.0.0.0:443), "local" (unix /run/x.sock), "fifo" (nothing to serve): FileDescriptorName= of a socket unit gives the name`},
		{systemd.Sockets{{Name: "connection"}}, func(a *App) { a.Serve("tcp", ":80", newStill()) }, errAccepted.Error()},
		{systemd.Sockets{{Name: "connection", Network: "tcp", Address: "[::]:80"}}, func(a *App) { a.Serve("systemd", "connection", newStill()) }, "tcp [::]:80"},
		{systemd.Sockets{{Name: "gracerun/tcp/%3A0", Network: "tcp", Address: ":0", Stored: true}}, func(a *App) { a.Serve("systemd", "web", newStill()) },
			`systemd web: no service manager passed sockets to this process: start it by a socket unit, or try systemd-socket-activate(1)`},
	} {
		a := &App{Name: "test"}
		test.register(a)
		check(t, a.check())
		work := a.fix()
		server := work.addresses[0].server
		var got []string
		err := work.activate(test.passed)
		for _, ad := range work.addresses {
			got = append(got, ad.String())
		}
		if err != nil {
			got = []string{err.Error()}
		} else if work.addresses[0].server != server || slices.Contains(work.addresses[1:], work.addresses[0]) {
			t.Errorf("%s: another server has it", test.want)
		}
		if text := strings.Join(got, ", "); text != test.want {
			t.Errorf("got %s\nwant %s", text, test.want)
		}
	}
}

func packets() PacketServer {
	return PacketFuncs{ServeFunc: func(net.PacketConn) error { return nil }}
}

// TestNoSuchSocket: the start ends with the reason, before anything is opened.
func TestNoSuchSocket(t *testing.T) {
	t.Parallel()
	a := &App{}
	a.Serve("systemd", "web", newStill())
	s := perform(t, a, &fakeSelf{})
	if err := s.wait(); err == nil || !strings.Contains(err.Error(), "no service manager passed sockets") {
		t.Errorf("Run returned %v", err)
	}
}
