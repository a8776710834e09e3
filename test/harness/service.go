package harness

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// What stands, in the strings of a [Config], for the directories that
// [Service.Root] and [Service.RunDir] name.
const (
	Root   = "{root}"
	RunDir = "{rundir}"
)

// Config says how a service is started. Only Binary is needed.
type Config struct {
	Binary string   // the program; it is installed as Service.Path
	Name   string   // "" = the base of Binary; App.Name, if the service sets one
	Args   []string // after argv[0]
	Env    []string // added to this process's environment, "KEY=value"; the last of a key counts

	// Path is where the program is installed and started from, in a private
	// directory; relative to it. "" = "bin/NAME".
	Path string
	// Argv0 is the name that the service is started under. "" = Service.Path.
	Argv0 string
	// Dir is the working directory, made if need be. "" = Root.
	Dir string
	// Prepare is called before the service is started, if it is not nil.
	Prepare func(*Service) error

	// Passed are the service's from descriptor 3 on, as a service manager passes
	// them (sd_listen_fds(3)). LISTEN_PID is right unless Env says something else,
	// and LISTEN_FDNAMES is in Env.
	Passed []*os.File

	StdinClosed bool // start with descriptor 0 closed; else it is the null device
	LogPipe     bool // standard output and error are a pipe, else a file opened for appending

	// Network and Address are those at which GET / answers "generation G pid P".
	// Network "" = "tcp". Address "" = the first TCP socket on which the
	// service listens, once it does.
	Network, Address string

	// PIDFile is where the service writes its pid. "" = RunDir/NAME.pid.
	PIDFile string
}

// A Service is a program under test, all generations of it. Its methods may be
// called by several goroutines.
type Service struct {
	Root    string // private; removed by Close
	Path    string // of the installed program
	RunDir  string // exists; the service uses it if it is told to
	PIDFile string
	First   int // the pid of the process that was started; also the process group of all

	cfg    Config
	mark   string // the variable that shows who belongs to the service
	log    log
	client http.Client

	mu      sync.Mutex
	address string
	exits   map[int]syscall.WaitStatus
	groups  map[int]uint64 // of processes that were seen, so that a zombie is known; when their leaders began
}

const markName = "GRACE_HARNESS"

// Start installs and starts a service, in a process group of its own. It does
// not wait until it serves.
//
// This process becomes the one to which orphans among its descendants are given
// (PR_SET_CHILD_SUBREAPER in prctl(2)), for good: a generation whose parent has
// exited is reaped here. And all its descriptors from 3 on are closed in programs
// that it starts.
func Start(cfg Config) (*Service, error) {
	if err := errors.Join(adoptOrphans(), keepOwn()); err != nil {
		return nil, err
	}
	root, err := os.MkdirTemp("", "harness-")
	if err != nil {
		return nil, err
	}
	s := newService(root, cfg)
	if err := s.start(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func newService(root string, cfg Config) *Service {
	if cfg.Name == "" {
		cfg.Name = filepath.Base(cfg.Binary)
	}
	if cfg.Path == "" {
		cfg.Path = filepath.Join("bin", cfg.Name)
	}
	if cfg.Network == "" {
		cfg.Network = "tcp"
	}
	if cfg.Dir == "" {
		cfg.Dir = Root
	}
	s := &Service{
		Root: root, Path: filepath.Join(root, cfg.Path), RunDir: filepath.Join(root, "run"), PIDFile: cfg.PIDFile,
		cfg: cfg, mark: markName + "=" + rand.Text(), exits: map[int]syscall.WaitStatus{}, groups: map[int]uint64{},
	}
	if s.PIDFile == "" {
		s.PIDFile = filepath.Join(s.RunDir, cfg.Name+".pid")
	}
	if cfg.Argv0 == "" {
		s.cfg.Argv0 = s.Path
	}
	s.cfg.Dir, s.cfg.Argv0 = s.expand(s.cfg.Dir), s.expand(s.cfg.Argv0)
	s.client = http.Client{Transport: &http.Transport{DialContext: s.dial, DisableKeepAlives: true}, Timeout: 10 * time.Second}
	return s
}

func (s *Service) start() error {
	for _, dir := range []string{s.RunDir, filepath.Dir(s.Path), s.cfg.Dir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := link(s.cfg.Binary, s.Path); err != nil {
		return err
	}
	if err := s.log.open(filepath.Join(s.Root, "log"), s.cfg.LogPipe); err != nil {
		return err
	}
	if s.cfg.Prepare != nil {
		if err := s.cfg.Prepare(s); err != nil {
			return err
		}
	}
	return s.Restart()
}

// Restart starts a service of which no process is left, and changes First. Its
// log goes on.
func (s *Service) Restart() error {
	p, err := s.Run(s.log.out)
	if err != nil {
		return err
	}
	s.First = p.Pid
	s.mu.Lock()
	s.address = s.cfg.Address
	s.mu.Unlock()
	return p.Release() // by pid from here on, as the other generations
}

// Run starts the installed program once more, with the same arguments and
// environment, its output to out, and a process group of its own. The caller
// waits for it, or releases it; it belongs to the service all the same.
func (s *Service) Run(out *os.File) (*os.Process, error) {
	attr := &os.ProcAttr{
		Dir:   s.cfg.Dir,
		Env:   s.Environ(),
		Files: []*os.File{nil, out, out},
		Sys:   ownGroup(),
	}
	argv := []string{s.cfg.Argv0}
	for _, a := range s.cfg.Args {
		argv = append(argv, s.expand(a))
	}
	if !s.cfg.StdinClosed {
		null, err := os.Open(os.DevNull)
		if err != nil {
			return nil, err
		}
		defer null.Close()
		attr.Files[0] = null
	}
	program := s.Path
	if n := len(s.cfg.Passed); n > 0 { // the shell has the pid that the service will have
		exec := fmt.Sprintf(`LISTEN_PID=${LISTEN_PID:-$$} LISTEN_FDS=%d exec "$0" "$@"`, n)
		program, argv = "/bin/sh", append([]string{"sh", "-c", exec, s.Path}, argv[1:]...)
		attr.Files = append(attr.Files, s.cfg.Passed...)
	}
	p, err := os.StartProcess(program, argv, attr)
	if err == nil {
		s.remember(p.Pid) // the leader of its group
	}
	return p, err
}

// Environ is what the service is started with, and who is to belong to it.
func (s *Service) Environ() []string {
	env := append(os.Environ(), s.mark)
	for _, v := range s.cfg.Env {
		env = setenv(env, s.expand(v))
	}
	return env
}

// remember notes a process group of the service: a daemon makes its own.
func (s *Service) remember(group int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if begin := begun(group); begin != 0 || s.groups[group] == 0 {
		s.groups[group] = begin
	}
}

// knows reports whether it is such a group. While it lasts nobody else has its number,
// and later its leader is another.
func (s *Service) knows(group int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, is := s.groups[group]
	begin := begun(group)
	return is && (begin == 0 || begin == known)
}

// setenv replaces a variable: of two with one key, Go programs see the first.
func setenv(env []string, v string) []string {
	key, _, _ := strings.Cut(v, "=")
	env = slices.DeleteFunc(env, func(e string) bool { return strings.HasPrefix(e, key+"=") })
	return append(env, v)
}

func (s *Service) expand(in string) string {
	return strings.NewReplacer(Root, s.Root, RunDir, s.RunDir).Replace(in)
}

// Stop sends SIGTERM to the owner and waits until no process is left.
func (s *Service) Stop(ctx context.Context) error {
	pid, err := s.Owner(ctx)
	if err != nil {
		return err
	}
	if err := s.Signal(pid, syscall.SIGTERM); err != nil {
		return err
	}
	return s.Gone(ctx)
}

// A LeakError names processes that were still there when a service was closed.
// They have been killed.
type LeakError struct{ Processes []Process }

func (e *LeakError) Error() string {
	return fmt.Sprintf("harness: had to kill %v", e.Processes)
}

// Close kills what is left of the service, by pid, and removes its files. The
// error is a [*LeakError] if anything was left.
func (s *Service) Close() error {
	var leak LeakError
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		left, err := s.Processes()
		if err != nil {
			return err
		}
		if len(left) == 0 {
			break
		}
		for _, p := range left {
			if s.Signal(p.PID, syscall.SIGKILL) == nil {
				leak.Processes = append(leak.Processes, p)
			}
		}
		for _, p := range left {
			if err := s.Exited(ctx, p.PID); err != nil {
				return err
			}
		}
	}
	errs := []error{s.log.close(), os.RemoveAll(s.Root)}
	if len(leak.Processes) > 0 {
		errs = append(errs, &leak)
	}
	return errors.Join(errs...)
}
