//go:build linux

package test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun"
	"github.com/gracerun/grace/test/harness"
	"github.com/gracerun/grace/test/load"
)

// The clients of this file send requests which must not be repeated, and never
// repeat one. While the service is replaced again and again each of them gets
// its answer, and no connection ends that was not announced to, or that had not
// been idle for the time to linger.
func TestNothingIsLost(t *testing.T) {
	n := upgrades(t)
	const linger = 500 * time.Millisecond
	s := startSite(t, "service", linger, "-linger", linger.String(), "-probation", "20ms")
	var r load.Runner
	var seen sightings
	res := s.under(t, &r, s.everybody(&seen), func(ctx context.Context) {
		s.replace(ctx, t, n, 200*time.Millisecond)
	})
	t.Logf("%d upgrades\n%v", n, res)
	s.explain(t, res)
	seen.check(t, res)
	for _, k := range res.Kinds {
		if k.OK == 0 {
			t.Errorf("%s: no request was answered", k.Kind)
		}
		if k.IdleClosed > 0 && k.Kind != kindLooking {
			t.Errorf("%s: %d connections were closed without an announcement", k.Kind, k.IdleClosed)
		}
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if got := strings.Count(s.Log(), "upgrade committed"); got != n {
		t.Errorf("%d upgrades are in the log, want %d", got, n)
	}
	s.noErrors(t)
}

// The same clients lose requests to a service that follows tableflip's README.
// If they did not, the test above would prove nothing.
func TestTheRecipeLoses(t *testing.T) {
	s := startSite(t, "recipe", 500*time.Millisecond)
	var r load.Runner
	upgraded := 0
	res := s.under(t, &r, s.everybody(new(sightings)), func(ctx context.Context) {
		for r.Snapshot().Failed == 0 && upgraded < 50 {
			if err := s.replaceRecipe(ctx); err != nil {
				t.Fatalf("%v\n%s", err, s.Log())
			}
			upgraded++
		}
	})
	t.Logf("%d upgrades\n%v", upgraded, res)
	if len(res.Failures) == 0 {
		t.Errorf("no request failed in %d upgrades: these clients do not see what they are to see", upgraded)
	}
}

// Linger is exact: who asks again in less loses nothing without looking, and who
// looks before it sends loses nothing however long it thinks (but see
// timed.crossed).
func TestLingerIsExact(t *testing.T) {
	t.Parallel()
	const linger = time.Second
	s := startSite(t, "service", linger, "-probation", "20ms") // 1 s is what an App has by default
	var seen sightings
	groups := []load.Group{
		{Kind: "just below, does not look", N: 40, Think: linger * 8 / 10, New: func() load.Client {
			return &timed{KeepAlive: load.KeepAlive{Target: s.plain}, linger: linger, seen: &seen}
		}},
		{Kind: kindLooking, N: 40, Think: linger * 9 / 10, ThinkMax: linger * 15 / 10, New: func() load.Client {
			return &timed{KeepAlive: load.KeepAlive{Target: s.plain, Look: true}, linger: linger, seen: &seen}
		}},
	}
	var r load.Runner
	res := s.under(t, &r, groups, func(ctx context.Context) {
		s.replace(ctx, t, 12, 400*time.Millisecond)
	})
	t.Log(res)
	s.explain(t, res)
	seen.check(t, res)
	below, looking := res.Kinds[0], res.Kinds[1]
	if looking.IdleClosed == 0 {
		t.Error("no connection was found closed: nobody thought for longer than the time to linger")
	}
	if n := int(seen.late.Load()); n > below.OK/2 {
		t.Errorf("%d of %d requests came too late to prove anything: the machine is too busy", n, below.OK)
	}
}

const kindLooking = "keep-alive, looks for FIN"

// everybody is one group of each kind of client.
func (s *site) everybody(seen *sightings) []load.Group {
	const thought = 20 * time.Millisecond
	h2, h2c := &load.HTTP2{Target: s.tls}, &load.HTTP2{Target: s.plain}
	keepAlive := func(t load.Target, look bool) func() load.Client {
		return func() load.Client {
			return &timed{KeepAlive: load.KeepAlive{Target: t, Look: look}, linger: s.linger, seen: seen}
		}
	}
	groups := []load.Group{
		{Kind: "keep-alive, busy", N: 8, Think: thought, New: keepAlive(s.plain, false)},
		{Kind: "keep-alive, thinks", N: 24, ThinkMax: s.linger * 8 / 10, New: keepAlive(s.plain, false)},
		{Kind: kindLooking, N: 24, ThinkMax: s.linger * 5 / 2, New: keepAlive(s.plain, true)},
		{Kind: "fresh", N: 6, Think: thought, New: func() load.Client { return &load.Fresh{Target: s.plain} }},
		{Kind: "slow", N: 4, Think: thought, New: func() load.Client { return &load.Slow{Target: s.plain, Sleep: 300 * time.Millisecond} }},
		{Kind: "tls", N: 8, Think: thought, New: keepAlive(s.tls, false)},
		{Kind: "http/2, 64 streams", N: 64, Think: 64 * 4 * time.Millisecond, New: func() load.Client { return h2 }},
		{Kind: "http/2 without tls", N: 16, Think: 16 * 4 * time.Millisecond, New: func() load.Client { return h2c }},
		{Kind: "unix", N: 8, Think: thought, New: keepAlive(s.unix, false)},
	}
	if s.tcp.Address != "" {
		groups = append(groups, load.Group{Kind: "tcp", N: 8, Think: thought, New: func() load.Client {
			return &load.TCP{Target: s.tcp, Pause: thought}
		}})
	}
	return groups
}

// timed is a keep-alive client that knows how long its connection can have been
// idle for the server: since it began the last request, at most.
//
// One that does not look gives a connection up before the time to linger is
// over, as clients do whose idle time-out is shorter than the server's: a
// machine that is busy must not turn it into one that thinks too long. One that
// looks counts the connections which the server closed too early.
type timed struct {
	load.KeepAlive
	linger time.Duration
	seen   *sightings

	began time.Time
}

// sightings are what timed clients count.
type sightings struct {
	early   atomic.Int64 // connections closed, unannounced, before they had been idle for the time to linger
	late    atomic.Int64 // connections given up because the client was late itself
	crossed atomic.Int64 // see timed.crossed
}

func (c *timed) Do() load.Outcome {
	now := time.Now()
	idle := now.Sub(c.began)
	if first := c.began.IsZero(); !first && !c.Look && idle > c.linger*9/10 {
		c.Close()
		c.seen.late.Add(1)
	}
	o := c.KeepAlive.Do()
	switch {
	case c.crossed(&o, idle):
		c.seen.crossed.Add(1)
		o.IdleClosed, o.Failure = true, nil
	case c.late(&o):
		c.seen.late.Add(1)
		o.Failure = nil
	}
	// By the time of now: it may have looked long after it began.
	if o.IdleClosed && time.Since(c.began) < c.linger {
		c.seen.early.Add(1)
	}
	c.began = now
	return o
}

// late reports whether a client that does not look had not written its request
// when the connection had been idle for the time to linger: between the look at
// the clock and the write a busy machine may let any time pass.
func (c *timed) late(o *load.Outcome) bool {
	if c.Look || !endedBefore(o.Failure) {
		return false
	}
	written := o.Failure.Written
	if written.IsZero() { // it failed with this very error
		written = time.Now()
	}
	return written.Sub(c.began) >= c.linger
}

// endedBefore reports whether an idle connection ended, and not a byte of an
// answer came.
func endedBefore(f *load.Failure) bool {
	return f != nil && f.Reused && (f.Stage == load.StageEOFBefore || f.Stage == load.StageResetBefore)
}

// crossed reports whether the request met the server's FIN on its way: the
// client had looked, the connection had been idle for the time to linger, and
// not a byte of an answer came. "A client might have started to send a new
// request at the same time that the server has decided to close the idle
// connection" (RFC 9112, section 9.5): to look makes that moment short, but
// nothing removes it.
func (c *timed) crossed(o *load.Outcome, idle time.Duration) bool {
	return c.Look && endedBefore(o.Failure) && idle >= c.linger
}

// check fails the test for closings that were too early, and for more requests
// that met a FIN than chance explains.
func (s *sightings) check(t *testing.T, res *load.Result) {
	t.Helper()
	total := res.Total()
	t.Logf("of %d connections found closed %d crossed a request", total.IdleClosed, s.crossed.Load())
	if n := s.early.Load(); n > 0 {
		t.Errorf("%d connections were closed, unannounced, before they had been idle for the time to linger", n)
	}
	if n := int(s.crossed.Load()); n > 1+total.IdleClosed/50 {
		t.Errorf("%d requests met a FIN on their way: too many to be chance", n)
	}
}

// A site is a service of testdata/loss with its addresses.
type site struct {
	*harness.Service
	linger                time.Duration
	plain, tls, tcp, unix load.Target
}

// startSite starts a program, and ends it with the test. linger is what the
// clients are told.
func startSite(t *testing.T, program string, linger time.Duration, args ...string) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{linger: linger, unix: load.Target{Network: "unix", Address: filepath.Join(dir, "http.sock")}}
	trust := makeCertificate(t, dir)
	s.Service = start(t, harness.Config{
		Binary:  build(t, "test/testdata/loss/"+program),
		Args:    append([]string{"-dir", dir}, args...),
		Network: "unix", Address: s.unix.Address, PIDFile: filepath.Join(dir, program+".pid"),
	})
	if err := until(t.Context(), func() error { return s.findAddresses(t.Context(), program) }); err != nil {
		t.Fatalf("%v\n%s", err, s.Log())
	}
	s.tls.TLS = &tls.Config{RootCAs: trust}
	return s
}

func (s *site) findAddresses(ctx context.Context, program string) error {
	if program == "recipe" {
		text, err := s.Get(ctx, "/addresses")
		if err == nil {
			_, err = fmt.Sscan(text, &s.plain.Address, &s.tls.Address)
		}
		return err
	}
	st, err := s.status(ctx)
	if err == nil {
		s.plain.Address, s.tls.Address, s.tcp.Address = st.Sockets[0].Bound, st.Sockets[2].Bound, st.Sockets[3].Bound
	}
	return err
}

// status is what the service says of itself.
func (s *site) status(ctx context.Context) (st gracerun.Status, err error) {
	text, err := s.Get(ctx, "/status")
	if err == nil {
		err = json.Unmarshal([]byte(text), &st)
	}
	return st, err
}

// under runs f while the clients make requests, and returns what they saw.
func (s *site) under(t *testing.T, r *load.Runner, groups []load.Group, f func(context.Context)) *load.Result {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var res *load.Result
	var wg sync.WaitGroup
	wg.Go(func() { res = r.Run(ctx, groups...) })
	end := func() {
		stop()
		wg.Wait()
	}
	defer end() // also when f ends the test
	f(ctx)
	if !load.Pause(ctx, 2*s.linger) { // the last drain is a part of it
		t.Error(context.Cause(ctx))
	}
	end()
	return res
}

// replace upgrades the service n times, with a pause of random length after each.
func (s *site) replace(ctx context.Context, t *testing.T, n int, most time.Duration) {
	t.Helper()
	for range n {
		if _, err := s.Upgrade(ctx); err != nil {
			t.Fatalf("%v\n%s", err, s.Log())
		}
		load.Pause(ctx, mathrand.N(most))
	}
}

// explain fails the test for each request that was lost, with what the service
// said at that time.
func (s *site) explain(t *testing.T, res *load.Result) {
	t.Helper()
	for i := range res.Failures {
		f := &res.Failures[i]
		t.Errorf("lost: %v\nin the log then:\n%s", f, linesAround(s.Log(), f.When.Add(-f.After), f.When))
	}
}

// linesAround returns the lines of a log that were written from half a second
// before one time to half a second after another.
func linesAround(log string, from, to time.Time) string {
	const around = 500 * time.Millisecond
	var b strings.Builder
	for line := range strings.Lines(log) {
		stamp, _, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
		if at, err := time.Parse(time.RFC3339, stamp); err == nil && at.After(from.Add(-around)) && at.Before(to.Add(around)) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// noErrors fails the test for what the service reports as an error, but for those that
// are expected.
func (s *site) noErrors(t *testing.T, but ...string) {
	t.Helper()
	for line := range strings.Lines(s.Log()) {
		if slices.ContainsFunc(but, func(text string) bool { return strings.Contains(line, text) }) {
			continue
		}
		if strings.Contains(line, "level=ERROR") || !strings.HasPrefix(line, "time=") {
			t.Errorf("in the log: %s", line)
		}
	}
}

// replaceRecipe upgrades a service of tableflip's, which allows no other upgrade
// before its parent is gone.
func (s *site) replaceRecipe(ctx context.Context) error {
	_, old, err := s.Who(ctx)
	if err != nil {
		return err
	}
	if err := s.Signal(old, syscall.SIGHUP); err != nil {
		return err
	}
	if err := s.Exited(ctx, old); err != nil {
		return err
	}
	return until(ctx, func() error {
		_, pid, err := s.Who(ctx)
		if err == nil && pid == old {
			err = errors.New("the old process answers")
		}
		return err
	})
}

// start starts a service and stops it with the test, if it still runs. What is
// left when it has been told to stop is a leak, and an error.
func start(t *testing.T, cfg harness.Config) *harness.Service {
	t.Helper()
	s, err := harness.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if all, err := s.Processes(); err == nil && len(all) > 0 {
			newest := all[len(all)-1].PID
			if pid, err := s.PID(); err == nil && pid != 0 {
				newest = pid
			}
			s.Signal(newest, syscall.SIGTERM)
			if err := s.Gone(ctx); err != nil {
				t.Errorf("%v\n%s", err, s.Log())
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// makeCertificate writes cert.pem and key.pem, and returns who trusts them.
func makeCertificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) []byte {
		text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
		return text
	}
	write("key.pem", "PRIVATE KEY", private)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(write("cert.pem", "CERTIFICATE", cert))
	return pool
}

// upgrades is how many a load test makes: 30, or what GRACERUN_UPGRADES says.
func upgrades(t *testing.T) int {
	t.Helper()
	return upgradesOr(t, 30)
}

func upgradesOr(t *testing.T, byDefault int) int {
	t.Helper()
	n, err := harness.Upgrades(byDefault)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// until calls f until it returns nil, for 20 s at most.
func until(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return harness.Until(ctx, f)
}
