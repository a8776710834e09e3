package daemon_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/gracerun/internal/daemon"
)

// config is one in which nothing is wrong.
func config() daemon.Config {
	return daemon.Config{Name: "svc", Args: []string{"/bin/sh", "-x"}}
}

func resolve(t *testing.T, c daemon.Config) *daemon.Plan {
	t.Helper()
	p, err := c.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	p := resolve(t, config())
	if p.Dir != "/" || p.Chroot != "" || p.Umask != 0o022 || p.CoreLimit >= 0 || p.Identity != nil || p.NoNewPrivs {
		t.Errorf("got %+v", p)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if p.Program != program || !slices.Equal(p.Args, []string{"/bin/sh", "-x"}) {
		t.Errorf("program %q, arguments %q: the file is this one, the name is as it was given", p.Program, p.Args)
	}
	if !slices.Contains(p.Env, "PWD=/") || !slices.Contains(p.Env, "PATH="+os.Getenv("PATH")) {
		t.Errorf("environment %q", p.Env)
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	c := config()
	c.Dir, c.Umask, c.CoreLimit, c.NoNewPrivs = t.TempDir(), -1, -1, true
	p := resolve(t, c)
	if p.Dir != c.Dir || p.Umask >= 0 || p.CoreLimit != 0 || !p.NoNewPrivs {
		t.Errorf("got %+v", p)
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil {
		t.Fatal(err)
	}
	core := max(1, int64(min(limit.Max, 1<<20)))
	c.Umask, c.CoreLimit = 0o077, core
	if p = resolve(t, c); p.Umask != 0o077 || p.CoreLimit != core {
		t.Errorf("got %+v", p)
	}
}

// TestCoreLimitAboveTheHardOne would fail the daemon.
func TestCoreLimitAboveTheHardOne(t *testing.T) {
	t.Parallel()
	for hard, want := range map[int]string{
		1 << 10: "config true, permission false, unchanged false",
		1 << 20: "config false, permission false, unchanged true",
	} {
		cmd := helper(t, "resolve", fmt.Sprintf("T_CORE=%d", hard))
		if os.Geteuid() == 0 { // without privileges
			cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		}
		if got := strings.TrimSpace(ask(t, cmd)); got != want {
			t.Errorf("a hard limit of %d: %s, want %s", hard, got, want)
		}
	}
}

// TestEnvironment: of two values the last counts, and there is only one.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	c := config()
	c.Dir = t.TempDir()
	c.Env = []string{"PATH=/first", "NEW=a=b", "PATH=/last", "EMPTY="}
	env := resolve(t, c).Env
	for _, want := range []string{"PATH=/last", "NEW=a=b", "EMPTY=", "PWD=" + c.Dir} {
		key, _, _ := strings.Cut(want, "=")
		found := slices.DeleteFunc(slices.Clone(env), func(e string) bool { return !strings.HasPrefix(e, key+"=") })
		if !slices.Equal(found, []string{want}) {
			t.Errorf("%s is %q", key, found)
		}
	}
}

// TestEveryFaultAtOnce: who repairs one does not want to meet the next.
func TestEveryFaultAtOnce(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing")
	c := daemon.Config{
		Args: []string{"./svc"}, RunDir: "run", PIDFile: "svc.pid", Dir: missing, Umask: 0o1000,
		User: "no-such-user", Group: "no-such-group", Output: "log", ErrorOutput: missing + "/log", Env: []string{"NOVALUE"},
	}
	p, err := c.Resolve()
	if p != nil || !errors.Is(err, daemon.ErrConfig) {
		t.Fatalf("got %v, %v", p, err)
	}
	faults := strings.Split(err.Error(), "\n")
	want := []string{"Daemon.Umask", "Daemon.Env", "RunDir", "PIDFile", "Daemon.Output", "Daemon.User", "Daemon.Group", "program", "Daemon.Dir", "Daemon.ErrorOutput"}
	if len(faults) != len(want) {
		t.Fatalf("%d faults, want %d:\n%v", len(faults), len(want), err)
	}
	for i, f := range faults {
		if !strings.HasPrefix(f, want[i]+" ") || strings.Count(f, ": ") < 2 {
			t.Errorf("%q is not of %s, with the reason and the way out", f, want[i])
		}
		t.Log(f)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	write(t, file, "", 0o600)
	tests := []struct {
		name   string
		change func(*daemon.Config)
		want   error  // wrapped, too
		text   string // part of the message
	}{
		{"no command line", func(c *daemon.Config) { c.Args = nil }, nil, "full name"},
		{"missing directory", func(c *daemon.Config) { c.Dir = dir + "/no" }, fs.ErrNotExist, "Daemon.Dir"},
		{"directory is a file", func(c *daemon.Config) { c.Dir = file }, syscall.ENOTDIR, "Daemon.Dir"},
		{"relative directory", func(c *daemon.Config) { c.Dir = "srv" }, nil, "not an absolute path"},
		{"variable without name", func(c *daemon.Config) { c.Env = []string{"=x"} }, nil, "KEY=value"},
		{"variable with NUL", func(c *daemon.Config) { c.Env = []string{"A=x\x00B=y"} }, nil, "KEY=value"},
		{"log is a directory", func(c *daemon.Config) { c.Output = dir }, syscall.EISDIR, "Daemon.Output"},
		{"no directory for the log", func(c *daemon.Config) { c.ErrorOutput = dir + "/no/log" }, fs.ErrNotExist, "make the directory " + dir + "/no"},
		{"unknown word for the log", func(c *daemon.Config) { c.Output = "journald" }, nil, `"journal" or "syslog"`},
		{"no directory for the pid file", func(c *daemon.Config) { c.PIDFile = dir + "/no/svc.pid" }, fs.ErrNotExist, "PIDFile"},
		{"number without a group", func(c *daemon.Config) { c.User = "54321" }, nil, "set Daemon.Group"},
		{"the number that means none", func(c *daemon.Config) { c.User, c.Group = "4294967295", "0" }, nil, "no such user"},
		{"number with a sign", func(c *daemon.Config) { c.User, c.Group = "+0", "0" }, nil, "no such user"},
		{"number of 33 bits", func(c *daemon.Config) { c.User, c.Group = "4294967296", "0" }, nil, "no such user"},
		{"negative group", func(c *daemon.Config) { c.Group = "-1" }, nil, "no such group"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := config()
			tt.change(&c)
			_, err := c.Resolve()
			if !errors.Is(err, daemon.ErrConfig) || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestUser(t *testing.T) {
	t.Parallel()
	root(t)
	tests := []struct {
		user, group string
		uid, gid    uint32
		env         string
	}{
		{"nobody", "", 65534, 65534, "USER=nobody"},
		{"65534", "", 65534, 65534, "LOGNAME=nobody"},
		{"54321", "54322", 54321, 54322, "HOME=/"},
		{"nobody", "54322", 65534, 54322, "HOME=/nonexistent"},
		{"", "54322", 0, 54322, "PWD=/"},
	}
	for _, tt := range tests {
		t.Run(tt.user+":"+tt.group, func(t *testing.T) {
			t.Parallel()
			c := config()
			c.User, c.Group = tt.user, tt.group
			p := resolve(t, c)
			if p.Identity.UID != tt.uid || p.Identity.GID != tt.gid || !slices.Contains(p.Env, tt.env) {
				t.Errorf("identity %+v, environment %q", *p.Identity, p.Env)
			}
			if tt.group != "" && slices.Contains(p.Identity.Groups, 65534) {
				t.Errorf("groups %v: the group was replaced", p.Identity.Groups)
			}
		})
	}
}

// playResolve answers with what Resolve says to the user that it runs as.
func playResolve() error {
	c := config()
	c.User, c.Group, c.Chroot = os.Getenv("T_USER"), os.Getenv("T_GROUP"), os.Getenv("T_CHROOT")
	if hard, _ := strconv.ParseUint(os.Getenv("T_CORE"), 10, 64); hard > 0 {
		if err := syscall.Setrlimit(unix.RLIMIT_CORE, &syscall.Rlimit{Cur: hard, Max: hard}); err != nil {
			return err
		}
		c.CoreLimit = 1 << 20
	}
	p, err := c.Resolve()
	answer("config %v, permission %v, unchanged %v", errors.Is(err, daemon.ErrConfig), errors.Is(err, fs.ErrPermission), p != nil && p.Identity == nil)
	return nil
}

func TestOnlyRootChangesUser(t *testing.T) {
	t.Parallel()
	root(t)
	tests := []struct{ env, want string }{
		{"T_USER=daemon", "config true, permission true, unchanged false"},
		{"T_GROUP=0", "config true, permission true, unchanged false"},
		{"T_CHROOT=/", "config true, permission true, unchanged false"},
		{"T_USER=nobody", "config false, permission false, unchanged true"}, // who it is
	}
	for _, tt := range tests {
		cmd := helper(t, "resolve", tt.env)
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
		if got := strings.TrimSpace(ask(t, cmd)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.env, got, tt.want)
		}
	}
}

// TestChroot: paths are looked at as they will be seen inside.
func TestChroot(t *testing.T) {
	t.Parallel()
	root(t)
	dir := dir(t)
	c := config()
	c.Chroot, c.Args, c.Dir = dir, []string{"/opt/current/svc"}, "/srv"
	_, err := c.Resolve()
	if !errors.Is(err, daemon.ErrConfig) || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(fmt.Sprint(err), "at the same path") {
		t.Fatalf("without the program: %v", err)
	}
	write(t, dir+"/opt/release-1/svc", "", 0o755)
	for link, target := range map[string]string{"/opt/current": "/opt/release-1", "/srv": "/var/srv"} {
		if err := os.Symlink(target, dir+link); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Resolve(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "Daemon.Dir") {
		t.Fatalf("without the directory: %v", err)
	}
	if err := os.MkdirAll(dir+"/var/srv", 0o755); err != nil {
		t.Fatal(err)
	}
	p := resolve(t, c)
	if p.Program != "/opt/current/svc" || p.Dir != "/srv" || p.Chroot != dir {
		t.Errorf("got %+v", p)
	}
	for path, want := range map[string]string{
		"/srv/run/svc.pid":  dir + "/var/srv/run/svc.pid",
		"/srv":              dir + "/srv",
		"/new/run/svc.pid":  dir + "/new/run/svc.pid",
		"/../../etc/passwd": dir + "/etc/passwd",
	} {
		if got := p.Outside(path); got != want {
			t.Errorf("Outside(%s) = %s, want %s", path, got, want)
		}
	}
	write(t, dir+"/opt/release-1/svc", "", 0o644)
	if _, err := c.Resolve(); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a program that cannot be executed: %v", err)
	}
	c.Chroot = dir + "/no"
	if _, err := c.Resolve(); !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "\n") {
		t.Errorf("without the root directory: %v", err)
	}
}

func TestOutputNeedsItsSocket(t *testing.T) {
	t.Parallel()
	root(t)
	dir := dir(t)
	write(t, dir+"/bin/sh", "", 0o755)
	for output, path := range map[string]string{"journal": "/run/systemd/journal/socket", "syslog": "/dev/log"} {
		c := config()
		c.Chroot, c.Output = dir, output
		if _, err := c.Resolve(); !errors.Is(err, daemon.ErrConfig) || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", output, err)
		}
		if err := os.MkdirAll(filepath.Dir(dir+path), 0o755); err != nil {
			t.Fatal(err)
		}
		ln, err := net.ListenPacket("unixgram", dir+path)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		resolve(t, c)
	}
}

// TestPIDFileElsewhere: the user must be able to replace it.
func TestPIDFileElsewhere(t *testing.T) {
	t.Parallel()
	root(t)
	dir := dir(t)
	c := config()
	c.PIDFile = dir + "/svc.pid"
	resolve(t, c)
	c.User, c.Group = "54321", "54321"
	if _, err := c.Resolve(); !errors.Is(err, daemon.ErrConfig) || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v", err)
	}
	c.RunDir = dir // it is given to the user, if it can be
	resolve(t, c)
	c.RunDir = ""
	if err := os.Chown(dir, nobody, 0); err != nil {
		t.Fatal(err)
	}
	resolve(t, c)
}
