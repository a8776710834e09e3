//go:build linux

package deployed

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/test/harness"
	"github.com/gracerun/grace/test/load"
)

func socketCases(t *testing.T) []unitCase {
	named, matched := harness.FreeAddress(t), harness.FreeAddress(t)
	socket := func(address, more string) string {
		return "[Socket]\nListenStream=" + address + "\n" + more
	}
	return []unitCase{
		{name: "named", flags: "-network systemd -addr http", kind: "--activated", unstarted: true,
			socket: socket(named, "FileDescriptorName=http\n"), run: func(t *testing.T, u *managed) { activated(t, u, named) }},
		{name: "matched", flags: "-addr " + matched, kind: "--activated", unstarted: true,
			socket: socket(matched, ""), run: func(t *testing.T, u *managed) { activated(t, u, matched) }},
		{name: "stored", run: stored},
		{name: "storedunix", flags: "-network unix -addr /run/{name}/web.sock", run: storedUnix},
	}
}

// activated: a connection starts the service, and no other is ever refused.
func activated(t *testing.T, u *managed, address string) {
	if text, err := u.Systemctl(t.Context(), "start", u.name+".socket"); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	defer u.Systemctl(context.Background(), "stop", u.name+".service", u.name+".socket")
	if _, by := u.who(t, address); by != u.mainPID(t) {
		t.Errorf("%d answers, MainPID is %d", by, u.mainPID(t))
	}
	u.restarts(t, address)
	u.killWithQueue(t, address)
	u.must(t, "stop")
	if _, by := u.who(t, address); by != u.mainPID(t) { // the socket is there still
		t.Errorf("%d answers, MainPID is %d", by, u.mainPID(t))
	}
}

// stored: the manager keeps the socket while nobody serves.
func stored(t *testing.T, u *managed) {
	address := u.address(t)
	u.want(t, "NFileDescriptorStore", "1")
	u.must(t, "reload")
	u.want(t, "NFileDescriptorStore", "1")
	u.restarts(t, address)
	if now := u.address(t); now != address { // although it is port 0
		t.Errorf("it listens on %s, and did on %s", now, address)
	}
	u.killWithQueue(t, address)
	u.want(t, "NFileDescriptorStore", "1")
	u.must(t, "stop")
	u.want(t, "NFileDescriptorStore", "0")
	if c, err := net.DialTimeout("tcp", address, time.Second); err == nil {
		c.Close()
		t.Error("a socket of a service that was stopped takes a connection")
	}
	u.must(t, "start")
}

// restarts: fresh connections meet a service that is restarted and upgraded.
func (u *managed) restarts(t *testing.T, address string) {
	t.Helper()
	target := load.Target{Address: address}
	groups := []load.Group{
		{Kind: "fresh", N: 4, Think: 5 * time.Millisecond, New: func() load.Client { return &load.Fresh{Target: target} }},
	}
	underLoad(t, groups, func() {
		for range 3 {
			u.must(t, "restart")
			u.must(t, "reload")
		}
	})
	u.want(t, "ActiveState SubState NRestarts", "active running 0")
}

// killWithQueue: connections that wait when the main process is killed, and one that
// comes while nobody is there, are served by the next.
func (u *managed) killWithQueue(t *testing.T, address string) {
	t.Helper()
	before := u.mainPID(t)
	u.stand(t, before) // so that it does not accept them
	var queue []net.Conn
	for range 5 {
		c, err := net.DialTimeout("tcp", address, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		queue = append(queue, c)
	}
	u.kill(t, before)
	for _, c := range queue {
		c.SetDeadline(time.Now().Add(20 * time.Second))
		text, err := io.ReadAll(c)
		if err != nil || !strings.Contains(string(text), "generation 1 pid ") || strings.Contains(string(text), fmt.Sprintf("pid %d\n", before)) {
			t.Errorf("a connection that waited is answered by %q, %v", text, err)
		}
	}
	u.await(t, "ActiveState SubState NRestarts", "active running 1")
}

// stand has a process stand still.
func (u *managed) stand(t *testing.T, pid int) {
	t.Helper()
	if err := u.process(t, pid).Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	u.until(t, func() error {
		if p := u.process(t, pid); p.State != 'T' {
			return fmt.Errorf("%s", p.Process)
		}
		return nil
	})
}

// storedUnix: the file of a unix socket stays over a restart, as clients know it.
func storedUnix(t *testing.T, u *managed) {
	path := u.Path("/run/" + u.name + "/web.sock")
	target := load.Target{Network: "unix", Address: path}
	groups := []load.Group{
		{Kind: "fresh", N: 2, Think: 5 * time.Millisecond, New: func() load.Client { return &load.Fresh{Target: target} }},
	}
	underLoad(t, groups, func() {
		for range 3 {
			u.must(t, "restart")
			u.must(t, "reload")
		}
	})
	u.must(t, "stop")
	u.must(t, "start")
	underLoad(t, groups, func() { u.must(t, "reload") })
}
