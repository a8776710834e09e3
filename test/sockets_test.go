//go:build linux

package test

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
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
	"github.com/gracerun/grace/test/load"
)

// Each kind of socket stays where it is, with its port, its file and its
// options, and the socket files are removed once, when the service stops.
func TestSocketsStay(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{"default": nil, "tuned": {"-tuned"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testSocketsStay(t, args...)
		})
	}
}

func testSocketsStay(t *testing.T, args ...string) {
	dir := t.TempDir()
	addresses := []string{
		"tcp 127.0.0.1:0", "tcp :0", "tcp 127.0.0.1:0", "tcp4 127.0.0.1:0", "udp 127.0.0.1:0",
		"unix " + dir + "/stream.sock", "unixpacket " + dir + "/packet.sock", "unixgram " + dir + "/gram.sock",
		"unix @" + rand.Text(),
	}
	if ln, err := net.Listen("tcp6", "[::1]:0"); err == nil {
		ln.Close()
		addresses = append(addresses, "tcp6 [::1]:0")
	}
	deleted := watchDeletions(t, dir)
	p := startPorts(t, dir, addresses, args...)
	before, files := p.look(), inodes(t, dir)
	stop := p.pingPackets(before.sockets)
	for range 4 {
		p.upgrade()
		after := p.look()
		if !slices.Equal(after.sockets, before.sockets) {
			t.Errorf("generation %d listens on\n%v, the first one on\n%v", p.generation, after.sockets, before.sockets)
		}
		if len(after.options) != len(before.options) {
			t.Errorf("generation %d has the options of %d sockets, the first one of %d", p.generation, len(after.options), len(before.options))
		}
		for name, options := range after.options {
			if options != before.options[name] {
				t.Errorf("generation %d, %s:\n%s\nin the first one:\n%s", p.generation, name, options, before.options[name])
			}
		}
		if now := inodes(t, dir); !maps.Equal(now, files) {
			t.Errorf("generation %d has the socket files %v, the first one %v", p.generation, now, files)
		}
	}
	stop()
	if n := deleted(); len(n) > 0 {
		t.Errorf("socket files were removed while the service runs: %v", n)
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, n := range deleted() {
		if n != 1 {
			t.Errorf("%s was removed %d times", name, n)
		}
		delete(files, name)
	}
	if len(files) > 0 {
		t.Errorf("never removed: %v", files)
	}
}

// A new version may listen elsewhere. If it fails nothing has changed; if it
// takes over, what it does not listen on any more is closed.
func TestSocketsChange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	kept, dropped, changed, to := harness.FreeAddress(t), harness.FreeAddress(t), harness.FreeAddress(t), harness.FreeAddress(t)
	keptSock, droppedSock, addedSock := dir+"/kept.sock", dir+"/dropped.sock", dir+"/added.sock"
	p := startPorts(t, dir, []string{"tcp " + kept, "tcp " + dropped, "tcp " + changed, "unix " + keptSock, "unix " + droppedSock})
	old := p.look().sockets
	next := []string{"tcp " + kept, "tcp " + to, "unix " + keptSock, "unix " + addedSock}

	p.listen(next)
	p.write("refuse", "")
	owner, err := p.PID()
	p.must(err)
	p.must(p.Signal(owner, syscall.SIGHUP))
	_, err = p.Logged(p.ctx, 0, "upgrade failed", "stage=check", "told to refuse")
	p.must(err)
	p.answeredBy(1, old...)
	p.refused("tcp", to)
	p.refused("unix", addedSock)
	if left := inodes(t, dir); left["added.sock"] != 0 || left["dropped.sock"] == 0 || left["kept.sock"] == 0 {
		t.Errorf("after an upgrade that failed there are the socket files %v", left)
	}

	p.must(os.Remove(filepath.Join(dir, "refuse")))
	p.upgrade()
	if now := p.look().sockets; len(now) != len(next)+1 { // and http.sock
		t.Errorf("generation 2 listens on %v", now)
	}
	p.refused("tcp", dropped)
	p.refused("tcp", changed)
	p.refused("unix", droppedSock)
	if left := inodes(t, dir); left["added.sock"] == 0 || left["dropped.sock"] != 0 || left["kept.sock"] == 0 {
		t.Errorf("after the upgrade there are the socket files %v", left)
	}

	p.listen([]string{"tcp " + dropped}) // it is free for whoever wants it, us included
	p.upgrade()
	p.look()
	p.refused("tcp", kept)
}

// A thousand listeners are handed over as one is.
func TestThousandListeners(t *testing.T) {
	t.Parallel()
	const n = 1000
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	// The set, the hand-over, and a little.
	if need := uint64(2*n + 100); limit.Max < need {
		t.Skipf("the hard limit of open files is %d (ulimit -Hn), and %d may be needed", limit.Max, need)
	}
	p := startPorts(t, t.TempDir(), slices.Repeat([]string{"tcp 127.0.0.1:0"}, n))
	before := p.look().sockets
	var open []int
	for range 3 {
		began := time.Now()
		p.upgrade()
		t.Logf("from SIGHUP until generation %d owns the service: %v", p.generation, time.Since(began).Round(time.Millisecond))
		if after := p.look().sockets; !slices.Equal(after, before) {
			t.Fatalf("generation %d listens elsewhere", p.generation)
		}
		open = append(open, p.openSockets())
	}
	if open[0] != open[2] {
		t.Errorf("the generations have %v sockets open", open)
	}
}

// ports is testdata/loss/sockets.
type ports struct {
	*harness.Service
	t          *testing.T
	ctx        context.Context
	dir        string
	generation int
}

// view is what a generation says of its sockets.
type view struct {
	sockets []gracerun.Socket
	options map[string]string
}

func startPorts(t *testing.T, dir string, addresses []string, args ...string) *ports {
	t.Helper()
	binary := build(t, "test/testdata/loss/sockets")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	p := &ports{t: t, ctx: ctx, dir: dir, generation: 1}
	p.listen(addresses)
	p.Service = start(t, harness.Config{
		Binary: binary, Args: append([]string{"-dir", dir}, args...),
		Network: "unix", Address: filepath.Join(dir, "http.sock"), PIDFile: filepath.Join(dir, "sockets.pid"),
	})
	_, err := p.Generation(ctx, 1)
	p.must(err)
	return p
}

func (p *ports) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatalf("%v\n%s", err, p.Log())
	}
}

func (p *ports) write(name, text string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// listen says where the next generation shall listen.
func (p *ports) listen(addresses []string) {
	p.t.Helper()
	p.write("addresses", strings.Join(addresses, "\n"))
}

func (p *ports) upgrade() {
	p.t.Helper()
	_, err := p.Upgrade(p.ctx)
	p.must(err)
	p.generation++
}

// look waits until the newest generation answers on all its sockets, and returns
// what it says of them.
func (p *ports) look() view {
	p.t.Helper()
	var v view
	var st gracerun.Status
	p.must(until(p.ctx, func() error { // the old one may have had the connection in hand
		p.get("/status", &st)
		if st.Generation != p.generation {
			return fmt.Errorf("generation %d answers, not %d", st.Generation, p.generation)
		}
		return nil
	}))
	p.answeredBy(p.generation, st.Sockets...)
	p.get("/options", &v.options)
	v.sockets = st.Sockets
	return v
}

func (p *ports) get(path string, v any) {
	p.t.Helper()
	text, err := p.Get(p.ctx, path)
	p.must(err)
	p.must(json.Unmarshal([]byte(text), v))
}

// answeredBy waits until a generation answers on all these sockets: for a moment
// after the commit the old one may have a connection or a packet in hand. Some are asked at
// a time: a machine that is busy lets each of them wait.
func (p *ports) answeredBy(generation int, sockets ...gracerun.Socket) {
	p.t.Helper()
	var wg sync.WaitGroup
	answers, turn := make([]error, len(sockets)), make(chan struct{}, 20)
	for i, s := range sockets {
		if filepath.Base(s.Address) == "http.sock" {
			continue
		}
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			answers[i] = until(p.ctx, func() error {
				n, err := ask(s.Network, s.Bound)
				if err == nil && n != generation {
					err = fmt.Errorf("generation %d answers on %v, not %d", n, s, generation)
				}
				return err
			})
		})
	}
	wg.Wait()
	p.must(errors.Join(answers...))
}

// refused waits until nobody listens there.
func (p *ports) refused(network, address string) {
	p.t.Helper()
	p.must(until(p.ctx, func() error {
		c, err := net.Dial(network, address)
		if err == nil {
			c.Close()
			return fmt.Errorf("somebody listens on %s %s", network, address)
		}
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}))
}

// openSockets counts the sockets of the owner once its predecessors are gone.
func (p *ports) openSockets() int {
	p.t.Helper()
	owner, err := p.PID()
	p.must(err)
	p.must(until(p.ctx, func() error {
		all, err := p.Processes()
		if err == nil && len(all) > 1 {
			err = fmt.Errorf("still there: %v", all)
		}
		return err
	}))
	fds, err := harness.OpenFDs(owner)
	p.must(err)
	n := 0
	for _, fd := range fds {
		if fd.Kind == "socket" {
			n++
		}
	}
	return n
}

// ask returns the generation that answers.
func ask(network, address string) (generation int, err error) {
	c, err := dial(network, address)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if strings.HasPrefix(network, "udp") || network == "unixgram" {
		if _, err := c.Write([]byte("who?")); err != nil {
			return 0, err
		}
	}
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	if err != nil {
		return 0, err
	}
	_, err = fmt.Sscanf(string(buf[:n]), "generation %d", &generation)
	return generation, err
}

// dial also gives a unixgram client a name, without which there is no answer.
func dial(network, address string) (net.Conn, error) {
	if network != "unixgram" {
		return net.Dial(network, address)
	}
	return net.DialUnix(network, &net.UnixAddr{Net: network, Name: "@" + rand.Text()}, &net.UnixAddr{Net: network, Name: address})
}

// pingPackets asks on the packet sockets, again and again, and fails the test if
// a question has no answer.
func (p *ports) pingPackets(sockets []gracerun.Socket) (stop func()) {
	ctx, cancel := context.WithCancel(p.ctx)
	var wg sync.WaitGroup
	for _, s := range sockets {
		if s.Network != "udp" && s.Network != "unixgram" {
			continue
		}
		wg.Go(func() {
			asked := 0
			for load.Pause(ctx, time.Millisecond) {
				if _, err := ask(s.Network, s.Bound); err != nil {
					p.t.Errorf("%v: question %d had no answer: %v", s, asked+1, err)
					return
				}
				asked++
			}
			p.t.Logf("%s: %d questions, all were answered", s.Network, asked)
		})
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// inodes returns those of the socket files in a directory.
func inodes(t *testing.T, dir string) map[string]uint64 {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]uint64{}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().Type() == fs.ModeSocket {
			found[e.Name()] = info.Sys().(*syscall.Stat_t).Ino
		}
	}
	return found
}

// watchDeletions returns a function that tells how often which socket file was
// removed from a directory since it was last called (inotify(7)).
func watchDeletions(t *testing.T, dir string) func() map[string]int {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(os.NewSyscallError("inotify_init1", err))
	}
	t.Cleanup(func() { unix.Close(fd) })
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_DELETE|unix.IN_MOVED_FROM); err != nil {
		t.Fatal(os.NewSyscallError("inotify_add_watch", err))
	}
	return func() map[string]int {
		removed := map[string]int{}
		buf := make([]byte, 64<<10)
		n, _ := unix.Read(fd, buf) // all there is, or EAGAIN
		for b := buf[:max(n, 0)]; len(b) > 0; {
			size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:])) // len of the name
			name := strings.TrimRight(string(b[unix.SizeofInotifyEvent:size]), "\x00")
			if strings.HasSuffix(name, ".sock") {
				removed[name]++
			}
			b = b[size:]
		}
		return removed
	}
}
