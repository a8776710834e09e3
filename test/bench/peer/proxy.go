package peer

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"text/template"

	"github.com/gracerun/grace/test/harness"
)

// A proxy is a program of its own that answers GET / by itself, with the pid of
// its worker, and takes everything else from a plain server behind it, which is
// not replaced. The header X-Pid of every answer names the worker.
type proxy struct {
	program  string   // looked up in PATH and in /usr/sbin
	pkg      string   // of Debian
	template string   // of its configuration
	option   string   // a line of it
	args     []string // before the name of the configuration
	daemon   bool     // its master is the one in the pid file, and has several workers
	deaf     bool     // its master ignores signals for some ms after it has started a worker
}

//go:embed nginx.conf haproxy.cfg
var templates embed.FS

func (p *proxy) path() (string, error) {
	path, err := exec.LookPath(p.program)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + p.program)
	}
	if err != nil {
		return "", fmt.Errorf("%s is not installed: apt-get install %s", p.program, p.pkg)
	}
	return path, nil
}

// version returns "nginx 1.22.1" of "nginx version: nginx/1.22.1", and
// "HAProxy 2.6.12-1" of "HAProxy version 2.6.12-1 2026/10/17 - https://...".
func (p *proxy) version() (string, error) {
	path, err := p.path()
	if err != nil {
		return "", err
	}
	text, err := exec.Command(path, "-v").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s -v: %w", path, err)
	}
	m := regexp.MustCompile(`^(\w+) version:? (?:nginx/)?(\S+)`).FindSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("%s -v says %.80q", path, text)
	}
	return fmt.Sprintf("%s %s", m[1], m[2]), nil
}

// proxyConfig is what the templates show.
type proxyConfig struct {
	HTTP                []string
	TLS                 string // "" = none
	Cert, Key, Both     string // files; Both has the certificate and the key
	Raw                 string // "" = none
	Backend, BackendRaw string
	Dir, PIDFile        string
	Option              string
	Root                bool // it runs as root
	Connections         int  // clients at a time
	Sockets             int  // of a worker: each client may need one to the backend
	Files               int  // the limit of open files
}

func (s *Server) startProxy(ctx context.Context, cfg Config) error {
	path, err := s.proxy.path()
	if err != nil {
		return err
	}
	c, err := s.proxyConfig(cfg)
	if err != nil {
		return err
	}
	if err := s.startBackend(ctx, c); err != nil {
		return err
	}
	s.binary = path
	file := filepath.Join(harness.Root, s.proxy.template)
	s.Service, err = harness.Start(harness.Config{
		Binary: path, Args: append(s.proxy.args[:len(s.proxy.args):len(s.proxy.args)], file), Address: s.HTTP[0],
		Prepare: func(h *harness.Service) error {
			c.Dir, c.PIDFile = h.Root, h.PIDFile
			var text strings.Builder
			if err := template.Must(template.ParseFS(templates, s.proxy.template)).Execute(&text, c); err != nil {
				return err
			}
			s.config = text.String()
			return writeConfig(h, s.proxy.template, s.config)
		},
	})
	if err == nil && s.proxy.daemon {
		var pid int
		pid, err = s.awaitMaster(ctx, 0)
		s.setMain(pid)
	}
	return err
}

// AwaitHearing waits until a master that can be deaf catches SIGUSR2: HAProxy's
// executes itself once more after it has started a worker.
func (s *Server) AwaitHearing(ctx context.Context) error {
	if s.proxy == nil || !s.proxy.deaf {
		return nil
	}
	return poll(ctx, func() error {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.First))
		if err != nil {
			return err
		}
		_, mask, _ := strings.Cut(string(text), "SigCgt:")
		var caught uint64
		if _, err := fmt.Sscanf(mask, "%x", &caught); err != nil {
			return err
		}
		if caught&(1<<(syscall.SIGUSR2-1)) == 0 {
			return fmt.Errorf("pid %d does not catch SIGUSR2", s.First)
		}
		return nil
	})
}

func writeConfig(h *harness.Service, name, text string) error {
	return os.WriteFile(filepath.Join(h.Root, name), []byte(text), 0o600)
}

func (s *Server) proxyConfig(cfg Config) (*proxyConfig, error) {
	ports, err := s.reserve(2)
	if err != nil {
		return nil, err
	}
	cert, key, err := s.builder.certificate()
	if err != nil {
		return nil, err
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil, os.NewSyscallError("getrlimit", err)
	}
	files, clients := int(limit.Max), cmp.Or(cfg.Connections, 1000)
	return &proxyConfig{
		HTTP: s.HTTP, TLS: s.TLS, Raw: s.Raw,
		Cert: cert, Key: key, Both: filepath.Join(filepath.Dir(cert), "both.pem"),
		Backend: ports[0], BackendRaw: ports[1],
		Option: s.proxy.option, Root: os.Geteuid() == 0,
		Connections: clients + 100, Sockets: min(files, 2*clients+len(s.HTTP)+100), Files: files,
	}, nil
}

// startBackend starts the plain server and waits until it answers.
func (s *Server) startBackend(ctx context.Context, c *proxyConfig) error {
	binary, err := s.builder.programs.Build(programs + "plain")
	if err != nil {
		return err
	}
	args := []string{"-http", c.Backend, "-raw", c.BackendRaw}
	if s.backend, err = harness.Start(harness.Config{Binary: binary, Args: args, Address: c.Backend}); err != nil {
		return err
	}
	if _, err := awaitAnswer(ctx, c.Backend); err != nil {
		return errors.Join(fmt.Errorf("backend: %w", err), errors.New(s.backend.Log()))
	}
	return nil
}
