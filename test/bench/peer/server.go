package peer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gracerun/grace/test/harness"
)

// Config says how a server is started. The zero value is one HTTP address and
// nothing else.
type Config struct {
	Listeners   int           // addresses of HTTP; 0 = 1
	TLS, Raw    bool          // serve these as well, if the kind can
	Connections int           // clients at a time, for those that must be told; 0 = 1,000
	Probation   time.Duration // gracerun's only; 0 = its default
	Ready       time.Duration // how long a new process may take to be ready, where that can be set; 0 = the default
}

// A Server is a running kind: all the processes that belong to it. Its methods
// may be called by several goroutines.
type Server struct {
	*harness.Service
	*Kind
	HTTP []string // addresses
	TLS  string   // address; "" = none
	Raw  string   // address; "" = none

	builder *Builder
	binary  string           // what was installed
	config  string           // a proxy's; the text of its file
	backend *harness.Service // a proxy's
	ready   time.Duration    // of a script's patience
	release []func()         // its ports

	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	scripts  sync.WaitGroup
	script   sync.Mutex // held by the one that runs
	children sync.WaitGroup

	mu      sync.Mutex
	newest  int
	mainPID int
}

// Start builds and starts a server, and returns when it answers at every
// address.
func (b *Builder) Start(ctx context.Context, k *Kind, cfg Config) (*Server, error) {
	if err := k.Missing(); err != nil {
		return nil, err
	}
	s := &Server{Kind: k, builder: b, ready: cfg.Ready}
	if s.ready <= 0 {
		s.ready = 10 * time.Second
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	err := s.start(ctx, cfg)
	if err == nil {
		err = s.await(ctx)
	}
	if err == nil {
		return s, nil
	}
	err = fmt.Errorf("%s: %w", k.Name, err)
	if s.Service != nil {
		err = fmt.Errorf("%w\n%s", err, s.Log())
	}
	return nil, errors.Join(err, s.Close())
}

func (s *Server) start(ctx context.Context, cfg Config) (err error) {
	n := max(cfg.Listeners, 1)
	ports, err := s.reserve(n + 2)
	if err != nil {
		return err
	}
	s.HTTP = ports[:n]
	if cfg.TLS && s.Can(TLS) {
		s.TLS = ports[n]
	}
	if cfg.Raw && s.Can(Raw) {
		s.Raw = ports[n+1]
	}
	if s.proxy != nil {
		return s.startProxy(ctx, cfg)
	}
	if s.binary, err = s.builder.build(s.Kind); err != nil {
		return err
	}
	args, err := s.arguments(cfg)
	if err != nil {
		return err
	}
	s.Service, err = harness.Start(harness.Config{Binary: s.binary, Args: args, Address: s.HTTP[0]})
	if err == nil {
		s.setMain(s.First)
	}
	return err
}

// reserve returns addresses that are the server's own until Close, also while nobody
// listens there.
func (s *Server) reserve(n int) ([]string, error) {
	var list []string
	for range n {
		addr, err := harness.ReservePort(func(release func()) { s.release = append(s.release, release) })
		if err != nil {
			return nil, err
		}
		list = append(list, addr)
	}
	return list, nil
}

func (s *Server) arguments(cfg Config) ([]string, error) {
	args := []string{"-rundir", harness.RunDir, "-http", strings.Join(s.HTTP, ",")}
	if s.TLS != "" {
		cert, key, err := s.builder.certificate()
		if err != nil {
			return nil, err
		}
		args = append(args, "-tls", s.TLS, "-cert", cert, "-key", key)
	}
	if s.Raw != "" {
		args = append(args, "-raw", s.Raw)
	}
	if cfg.Probation != 0 {
		args = append(args, "-probation", cfg.Probation.String())
	}
	if cfg.Ready != 0 {
		args = append(args, "-ready", cfg.Ready.String())
	}
	return args, nil
}

// Newest returns the process that was the first to answer after the last
// upgrade, see [Server.Answered].
func (s *Server) Newest() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest
}

// Answered tells that a process answered after an upgrade, so that the next
// upgrade knows whom to ask.
func (s *Server) Answered(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newest = pid
}

// Processes returns the living processes: masters, supervisors and workers, but
// not what stands behind a proxy.
func (s *Server) Processes() ([]harness.Process, error) {
	all, err := s.Service.Processes()
	if s.underInit { // not always the lowest pid: they start again at pid_max
		all = slices.DeleteFunc(all, func(p harness.Process) bool { return p.PID == s.First })
	}
	return all, err
}

// PIDs returns the numbers of [Server.Processes].
func (s *Server) PIDs() ([]int, error) {
	all, err := s.Processes()
	var list []int
	for _, p := range all {
		list = append(list, p.PID)
	}
	return list, err
}

// Close ends the server, in whichever state it is, by killing all its processes:
// which of them should have been gone by then is for its user to say before. The
// error is about processes or files that are left.
func (s *Server) Close() error {
	s.cancel()
	s.scripts.Wait()
	var errs []error
	if s.Service != nil {
		errs = append(errs, kill(s.Service, s.underInit))
		s.children.Wait()
		errs = append(errs, s.Service.Close())
	}
	if s.backend != nil {
		errs = append(errs, kill(s.backend, false), s.backend.Close())
	}
	for _, release := range s.release {
		release()
	}
	s.release = nil
	return errors.Join(errs...)
}

// kill kills the youngest process first: no child must see that its parent has
// changed. What stands in for init exits by itself.
func kill(service *harness.Service, underInit bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		all, err := service.Processes()
		if err != nil || len(all) == 0 {
			return err
		}
		for _, p := range slices.Backward(all) {
			if !underInit || p.PID != service.First {
				service.Signal(p.PID, syscall.SIGKILL)
			}
		}
		for _, p := range all {
			if err := service.Exited(ctx, p.PID); err != nil {
				return err
			}
		}
	}
}
