//go:build linux

package test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/gracerun"
	"github.com/gracerun/grace/test/harness"
)

// A unit opens sockets before there is a service, as systemd does for a socket unit,
// and keeps its own. They block, as systemd's do.
type unit struct {
	t       *testing.T
	names   []string
	files   []*os.File
	sockets []opened
}

// opened is one of them.
type opened struct{ network, address string }

// open opens a socket under a name.
func (u *unit) open(name, network, address string) opened {
	u.t.Helper()
	var c interface {
		File() (*os.File, error)
		Close() error
	}
	switch network {
	case "udp":
		p, err := net.ListenPacket(network, address)
		u.must(err)
		c, address = p.(*net.UDPConn), p.LocalAddr().String()
	case "unix":
		ln, err := net.Listen(network, address)
		u.must(err)
		ln.(*net.UnixListener).SetUnlinkOnClose(false)
		c = ln.(*net.UnixListener)
	default:
		ln, err := net.Listen(network, address)
		u.must(err)
		c, address = ln.(*net.TCPListener), ln.Addr().String()
	}
	f, err := c.File()
	u.must(err)
	u.must(c.Close())
	u.t.Cleanup(func() { f.Close() })
	u.names, u.files = append(u.names, name), append(u.files, f)
	u.sockets = append(u.sockets, opened{network, address})
	return u.sockets[len(u.sockets)-1]
}

func (u *unit) must(err error) {
	u.t.Helper()
	if err != nil {
		u.t.Fatal(err)
	}
}

// service is testdata/loss/sockets, to which the sockets are passed.
func (u *unit) service(dir string, addresses []string, env ...string) *ports {
	u.t.Helper()
	binary := build(u.t, "test/testdata/loss/sockets")
	ctx, cancel := context.WithTimeout(u.t.Context(), 60*time.Second)
	u.t.Cleanup(cancel)
	p := &ports{t: u.t, ctx: ctx, dir: dir, generation: 1}
	p.listen(addresses)
	p.Service = start(u.t, harness.Config{
		Binary: binary, Args: []string{"-dir", dir},
		Env:     append([]string{"LISTEN_FDNAMES=" + strings.Join(u.names, ":")}, env...),
		Passed:  u.files,
		Network: "unix", Address: filepath.Join(dir, "http.sock"), PIDFile: filepath.Join(dir, "sockets.pid"),
	})
	return p
}

// A client waits in the queue of a socket until the service answers.
type client struct {
	opened
	conn net.Conn
}

func (u *unit) dial(o opened) *client {
	u.t.Helper()
	c, err := net.Dial(o.network, o.address)
	u.must(err)
	u.t.Cleanup(func() { c.Close() })
	return &client{o, c}
}

// answeredBy fails the test unless a generation, "" = any, answers.
func (c *client) answeredBy(t *testing.T, generation string) {
	t.Helper()
	c.conn.SetDeadline(time.Now().Add(20 * time.Second))
	buf := make([]byte, 100)
	n, err := c.conn.Read(buf)
	if err != nil || !strings.HasPrefix(string(buf[:n]), "generation "+generation) {
		t.Errorf("%v: %q, %v; want an answer of generation %s", c.opened, buf[:n], err, generation)
	}
}

// hammer asks on a socket, again and again, and fails the test if there is no answer.
func (u *unit) hammer(ctx context.Context, wg *sync.WaitGroup, o opened) {
	wg.Go(func() {
		asked := 0
		for ; ctx.Err() == nil; asked++ {
			if _, err := ask(o.network, o.address); err != nil {
				u.t.Errorf("%v: question %d had no answer: %v", o, asked+1, err)
				return
			}
		}
		u.t.Logf("%v: %d questions, all were answered", o, asked)
	})
}

// Sockets of a socket unit are served by name and by address, from the connection that
// waited before there was a service, over upgrades. What nobody asks for is kept, and is
// there for the generation that does. Nothing of it is the service's to remove, nor a
// command's to inherit.
func TestActivation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	u := &unit{t: t}
	web, second := u.open("web", "tcp", "127.0.0.1:0"), u.open("web", "tcp", "127.0.0.1:0")
	dns, byAddress := u.open("dns", "udp", "127.0.0.1:0"), u.open("sockets.socket", "tcp", "127.0.0.1:0")
	local, spare := u.open("sockets.socket", "unix", dir+"/local.sock"), u.open("spare", "tcp", "127.0.0.1:0")
	served := []opened{web, second, byAddress, local}
	var waiting []*client
	for range 20 {
		for _, o := range served {
			waiting = append(waiting, u.dial(o))
		}
	}
	addresses := []string{"systemd web", "systemd-packet dns", "tcp " + byAddress.address, "unix " + local.address}
	p := u.service(dir, addresses)
	_, err := p.Generation(p.ctx, 1)
	p.must(err)
	for _, c := range waiting {
		c.answeredBy(t, "1")
	}
	_, err = p.Logged(p.ctx, 0, "level=WARN", "nobody serves", "name=spare", spare.address)
	p.must(err)
	before, open := p.look().sockets, p.openSockets()
	late := u.dial(spare)

	ctx, stop := context.WithCancel(p.ctx)
	var wg sync.WaitGroup
	for _, o := range append(served, dns) {
		u.hammer(ctx, &wg, o)
	}
	for range 5 {
		p.upgrade()
		if after := p.look().sockets; !slices.Equal(after, before) {
			t.Errorf("generation %d listens on\n%v, the first one on\n%v", p.generation, after, before)
		}
		pid, err := p.PID()
		p.must(err)
		p.withoutManager(pid)
	}
	stop()
	wg.Wait()
	if n := p.openSockets(); n != open {
		t.Errorf("generation %d has %d sockets open, the first one had %d", p.generation, n, open)
	}
	p.listen(append(addresses, "systemd spare"))
	p.upgrade()
	late.answeredBy(t, "7")

	p.must(p.Stop(p.ctx))
	for _, o := range served { // they are the unit's
		u.dial(o)
	}
}

// withoutManager fails the test if a process was started with what a manager says to
// another one: as this one, so every command of the service.
func (p *ports) withoutManager(pid int) {
	p.t.Helper()
	env, err := harness.Environ(pid)
	p.must(err)
	for _, v := range env {
		if strings.HasPrefix(v, "LISTEN_") {
			p.t.Errorf("process %d was started with %s", pid, v)
		}
	}
}

// TestActivationWithoutSockets: what is not for this process, or not there, ends the
// start with a reason that says what to do.
func TestActivationWithoutSockets(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, address string
		env           []string
		words         []string
	}{
		{"another process", "systemd web", []string{"LISTEN_PID=1"}, []string{"systemd web", "no service manager passed sockets", "systemd-socket-activate"}},
		{"no such name", "systemd admin", nil, []string{"systemd admin", "no socket of this name", "web", "tcp4 127.0.0.1:"}},
		{"packets", "systemd-packet web", nil, []string{"systemd web", "a tcp4 one"}},
		{"no names", "systemd web", []string{"LISTEN_FDNAMES="}, []string{"systemd web", "no socket of this name"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			u := &unit{t: t}
			u.open("web", "tcp", "127.0.0.1:0")
			p := u.service(t.TempDir(), []string{test.address}, test.env...)
			p.must(p.Gone(p.ctx))
			if _, err := p.Logged(p.ctx, 0, test.words...); err != nil {
				t.Errorf("%v\n%s", err, p.Log())
			}
			if ws, ok := p.Status(p.First); !ok || ws.ExitStatus() != 1 {
				t.Errorf("it ended with %v", ws)
			}
		})
	}
}

// TestActivatedDaemon: the launcher hands on what it was passed.
func TestActivatedDaemon(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	u := &unit{t: t}
	web := u.open("web", "tcp", "127.0.0.1:0")
	first := u.dial(web)
	binary := build(t, "test/testdata/loss/sockets")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	p := &ports{t: t, ctx: ctx, dir: dir, generation: 1}
	p.listen([]string{"systemd web"})
	p.Service = start(t, harness.Config{
		Binary: binary, Args: []string{"-dir", dir, "start"},
		Env: []string{"LISTEN_FDNAMES=web"}, Passed: u.files,
		Network: "unix", Address: filepath.Join(dir, "http.sock"), PIDFile: filepath.Join(dir, "sockets.pid"),
	})
	pid, err := p.Generation(ctx, 1)
	p.must(err)
	first.answeredBy(t, "1")
	p.withoutManager(pid)
	p.upgrade()
	p.answeredBy(2, gracerun.Socket{Network: web.network, Bound: web.address})
}

// A keeper is a service manager with an fd store (sd_notify(3)).
type keeper struct {
	conn *net.UnixConn
	path string

	mu    sync.Mutex
	names []string
	files []*os.File
	heard strings.Builder
}

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	k := &keeper{path: filepath.Join(t.TempDir(), "notify")}
	var err error
	if k.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: k.path, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(k.hear)
	t.Cleanup(func() {
		k.conn.Close()
		wg.Wait()
		for _, f := range k.files {
			f.Close()
		}
	})
	return k
}

func (k *keeper) hear() {
	text, oob := make([]byte, 8192), make([]byte, 4096)
	for {
		n, oobn, _, _, err := k.conn.ReadMsgUnix(text, oob)
		if err != nil {
			return
		}
		var files []*os.File
		messages, _ := unix.ParseSocketControlMessage(oob[:oobn])
		for _, m := range messages {
			fds, _ := unix.ParseUnixRights(&m)
			for _, fd := range fds {
				unix.CloseOnExec(fd)
				files = append(files, os.NewFile(uintptr(fd), "stored"))
			}
		}
		k.obey(string(text[:n]), files)
	}
}

func (k *keeper) obey(text string, files []*os.File) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.heard.WriteString(text + "\n")
	_, name, _ := strings.Cut(text, "FDNAME=")
	switch {
	case strings.HasPrefix(text, "FDSTORE=1\n"):
		for _, f := range files {
			k.names, k.files = append(k.names, name), append(k.files, f)
		}
		return
	case strings.HasPrefix(text, "FDSTOREREMOVE=1\n"):
		for i := len(k.names) - 1; i >= 0; i-- {
			if k.names[i] == name {
				k.files[i].Close()
				k.names, k.files = slices.Delete(k.names, i, i+1), slices.Delete(k.files, i, i+1)
			}
		}
	}
	for _, f := range files { // a barrier
		f.Close()
	}
}

// kept waits until just so many are kept, and returns duplicates of them in the form of a
// unit: what is kept may be removed at any time.
func (k *keeper) kept(p *ports, n int) *unit {
	p.t.Helper()
	u := &unit{t: p.t}
	p.must(until(p.ctx, func() error {
		k.mu.Lock()
		defer k.mu.Unlock()
		if len(k.names) != n {
			return fmt.Errorf("%d descriptors are kept, not %d: %q; it was told %q", len(k.names), n, k.names, k.heard.String())
		}
		u.names = slices.Clone(k.names)
		for _, f := range k.files {
			fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
			p.must(err)
			u.files = append(u.files, os.NewFile(uintptr(fd), f.Name()))
		}
		return nil
	}))
	p.t.Cleanup(func() {
		for _, f := range u.files {
			f.Close()
		}
	})
	return u
}

// A service that is killed, or is restarted, finds its sockets again with the clients
// that wait there, its ports and the files among them. What it has no use for any more
// is not kept, and a file that is gone is made anew.
func TestStoredSockets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k := newKeeper(t)
	env := []string{"NOTIFY_SOCKET=" + k.path, "FDSTORE=10"}
	local := opened{"unix", dir + "/local.sock"}
	p := (&unit{t: t}).service(dir, []string{"tcp 127.0.0.1:0", "tcp 127.0.0.1:0", "udp 127.0.0.1:0", "unix " + local.address}, env...)
	_, err := p.Generation(p.ctx, 1)
	p.must(err)
	before := p.look().sockets
	stored := k.kept(p, 5) // http.sock, too

	p.must(p.Signal(p.First, syscall.SIGKILL))
	p.must(p.Gone(p.ctx))
	var waiting []*client
	for _, s := range before {
		if s.Network == "tcp" {
			waiting = append(waiting, stored.dial(opened{"tcp", s.Bound}))
		}
	}
	waiting = append(waiting, stored.dial(local))
	p = stored.again(p, env)
	for _, c := range waiting {
		c.answeredBy(t, "1")
	}
	if after := p.look().sockets; !slices.Equal(after, before) {
		t.Errorf("it listens on\n%v, and listened on\n%v", after, before)
	}

	p.upgrade() // the successor stores nothing twice, and leaves nothing out
	p.look()
	p.must(p.Stop(p.ctx)) // of a restart, for all that it knows
	first := stored.dial(local)
	p.listen([]string{"tcp 127.0.0.1:0", "unix " + local.address})
	p = k.kept(p, 5).again(p, env)
	first.answeredBy(t, "1")
	p.look()
	stored = k.kept(p, 3)

	p.must(p.Stop(p.ctx))
	p.must(os.Remove(local.address))
	p = stored.again(p, env)
	(&unit{t: t}).dial(local).answeredBy(t, "1")
	k.kept(p, 3)
}

// again starts the service anew with what was kept. A service has one life in the
// harness: another one has the same directory.
func (u *unit) again(p *ports, env []string) *ports {
	u.t.Helper()
	addresses, err := os.ReadFile(filepath.Join(p.dir, "addresses"))
	p.must(err)
	next := u.service(p.dir, strings.Split(string(addresses), "\n"), env...)
	_, err = next.Generation(next.ctx, 1)
	next.must(err)
	return next
}
