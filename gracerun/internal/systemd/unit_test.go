package systemd_test

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun/internal/systemd"
)

var update = flag.Bool("update", false, "write the units in testdata anew")

func simple() systemd.Params {
	return systemd.Params{
		Name: "hello", Program: "/usr/local/bin/hello", RunDir: "/run/hello",
		Ready: time.Minute, Probation: 500 * time.Millisecond, Drain: 30 * time.Second,
		Sockets: []systemd.Address{{Network: "tcp", Address: ":8080"}},
	}
}

func full() systemd.Params {
	p := simple()
	p.Description, p.Args, p.Dir = "Says hello, 100%", []string{"-greeting", `a "b" \c`, "-prefix", "$x;"}, "/srv/hello world"
	p.Env, p.User, p.Group = []string{"LANG=C", "MOTTO=50% of $all things"}, "www-data", "www-data"
	p.Watchdog, p.Store, p.Cleanups, p.LogDir = 20*time.Second, 8, 10*time.Second, "/var/log/hello"
	p.Sockets = append(p.Sockets, systemd.Address{Network: "tcp4", Address: "127.0.0.1:443"},
		systemd.Address{Network: "udp", Address: "[::1]:53"}, systemd.Address{Network: "unix", Address: "/run/hello/http.sock"})
	return p
}

func activated() systemd.Params {
	p := full()
	p.Activated, p.Version, p.NotifyReload = true, 257, true
	return p
}

func forking() systemd.Params {
	p := simple()
	p.Forking, p.PIDFile, p.Program, p.Drain = true, "/run/hello/hello.pid", "/home/me/hello", 0
	return p
}

// TestUnit compares with the files in testdata, so that a change is seen.
func TestUnit(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]systemd.Params{"simple": simple(), "full": full(), "activated": activated(), "forking": forking()} {
		compare(t, name+".service", systemd.Unit(p))
	}
	text, err := systemd.SocketUnit(activated(), "http")
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "activated.socket", text)
}

func compare(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is\n%s\nwant\n%s", name, got, want)
	}
}

// TestVerify asks systemd itself, whose complaints do not change its exit status.
func TestVerify(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skipf("skipped: %v", err)
	}
	version, err := systemd.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("systemd %d", version)
	for name, p := range map[string]systemd.Params{"simple": simple(), "full": full(), "activated": activated(), "forking": forking()} {
		p.Version, p.Name, p.Program = version, name, "/bin/true"
		files := map[string]string{name + ".service": systemd.Unit(p)}
		if p.Activated {
			if files[name+".socket"], err = systemd.SocketUnit(p, "http"); err != nil {
				t.Fatal(err)
			}
		}
		verify(t, files)
	}
}

func verify(t *testing.T, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	args := []string{"verify"}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	slices.Sort(args[1:])
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemd-analyze", args...).CombinedOutput()
	complaints := slices.DeleteFunc(strings.Split(strings.TrimSpace(string(out)), "\n"), func(line string) bool {
		return !strings.Contains(line, dir) && !strings.Contains(line, filepath.Base(args[1])) // of units of the machine
	})
	if err != nil || len(complaints) > 0 {
		t.Errorf("%v: %v: %s", args[1:], err, out)
	}
}

// TestTimes: what has no limit in the service has none in systemd.
func TestTimes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		change      func(*systemd.Params)
		start, stop string
	}{
		{func(*systemd.Params) {}, "101", "40"},
		{func(p *systemd.Params) { p.Drain = 0 }, "infinity", "infinity"},
		{func(p *systemd.Params) { p.Ready = 0 }, "infinity", "40"},
		{func(p *systemd.Params) { p.Rereads = true }, "71", "40"},
		{func(p *systemd.Params) { p.Rereads, p.Drain = true, 0 }, "71", "infinity"},
		{func(p *systemd.Params) { p.Cleanups = 1500 * time.Millisecond }, "101", "42"},
		{func(p *systemd.Params) { p.StopDelay = 5 * time.Second }, "101", "45"},
	} {
		p := simple()
		test.change(&p)
		text := systemd.Unit(p)
		for _, line := range []string{"TimeoutStartSec=" + test.start, "TimeoutStopSec=" + test.stop} {
			if !strings.Contains(text, line+"\n") {
				t.Errorf("%+v: no %s in\n%s", p, line, text)
			}
		}
	}
}

func TestUnitType(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		version int
		notify  bool
		want    string
		verb    bool
	}{
		{0, true, "notify", true},
		{252, true, "notify", true},
		{253, true, "notify-reload", false},
		{257, false, "notify", true},
	} {
		p := simple()
		p.Version, p.NotifyReload = test.version, test.notify
		text := systemd.Unit(p)
		if !strings.Contains(text, "Type="+test.want+"\n") || strings.Contains(text, "ExecReload=") != test.verb {
			t.Errorf("version %d, NotifyReload %v:\n%s", test.version, test.notify, text)
		}
	}
}

// TestHardening: nothing hides the program, or what clients look for; and other lines
// that depend on one setting.
func TestHardening(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		change func(*systemd.Params)
		line   string
		is     bool
	}{
		{func(*systemd.Params) {}, "ProtectHome=yes", true},
		{func(*systemd.Params) {}, "PrivateTmp=yes", true},
		{func(p *systemd.Params) { p.Program = "/root/hello" }, "ProtectHome=read-only", true},
		{func(p *systemd.Params) { p.Program = "/tmp/hello" }, "PrivateTmp=yes", false},
		{func(p *systemd.Params) { p.RunDir = "/tmp/hello-0" }, "PrivateTmp=yes", false},
		{func(p *systemd.Params) { p.Sockets[0] = systemd.Address{Network: "unix", Address: "/tmp/s"} }, "PrivateTmp=yes", false},
		{func(p *systemd.Params) { p.RunDir = "/srv/run" }, "RuntimeDirectory=", false},
		{func(p *systemd.Params) { p.User, p.Sockets[0].Address = "me", ":80" }, "AmbientCapabilities=CAP_NET_BIND_SERVICE", true},
		{func(p *systemd.Params) { p.User, p.Sockets[0].Address, p.Activated = "me", ":80", true }, "AmbientCapabilities=", false},
		{func(p *systemd.Params) { p.User = "me" }, "AmbientCapabilities=", false},
		{func(p *systemd.Params) { p.Sockets[0].Address = "192.0.2.1:80" }, "network-online.target", true},
		{func(*systemd.Params) {}, "network-online.target", false},
		{func(*systemd.Params) {}, "NotifyAccess=main", true},
		{func(p *systemd.Params) { p.StablePID = true }, "NotifyAccess=all", true},
		{func(p *systemd.Params) { p.Umask = 0o27 }, "UMask=0027", true},
		{func(*systemd.Params) {}, "UMask=", false},
		{func(p *systemd.Params) { p.Description = "a\nExecStartPre=/bin/false" }, "\nExecStartPre", false},
	} {
		p := simple()
		test.change(&p)
		if text := systemd.Unit(p); strings.Contains(text, test.line) != test.is {
			t.Errorf("%+v: %q is %v, want %v, in\n%s", p, test.line, !test.is, test.is, text)
		}
	}
}

func TestSocketUnit(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		sockets []systemd.Address
		want    []string // lines; nil = an error
	}{
		{[]systemd.Address{{"tcp", ":8080"}}, []string{"ListenStream=8080", "BindIPv6Only=both"}},
		{[]systemd.Address{{"tcp", "0.0.0.0:80"}}, []string{"ListenStream=0.0.0.0:80"}},
		{[]systemd.Address{{"tcp4", ":http"}}, []string{"ListenStream=0.0.0.0:80"}},
		{[]systemd.Address{{"tcp6", ":80"}}, []string{"ListenStream=[::]:80", "BindIPv6Only=ipv6-only"}},
		{[]systemd.Address{{"tcp", "localhost:80"}}, []string{"ListenStream=127.0.0.1:80"}},
		{[]systemd.Address{{"udp", ":53"}, {"tcp", ":53"}}, []string{"ListenDatagram=53", "ListenStream=53"}},
		{[]systemd.Address{{"unix", "/run/a%b"}}, []string{"ListenStream=/run/a%%b", "SocketMode=0755", "RemoveOnStop=yes"}},
		{[]systemd.Address{{"unixpacket", "@name"}}, []string{"ListenSequentialPacket=@name"}},
		{[]systemd.Address{{"unixgram", "/run/log"}}, []string{"ListenDatagram=/run/log"}},
		{[]systemd.Address{{"tcp", "example.org:80"}}, nil},
		{[]systemd.Address{{"tcp", ":0"}}, nil},
		{[]systemd.Address{{"tcp", ":80"}, {"tcp6", ":81"}}, nil},
		{[]systemd.Address{{"ip", "127.0.0.1"}}, nil},
		{nil, nil},
	} {
		p := simple()
		p.Sockets = test.sockets
		text, err := systemd.SocketUnit(p, "")
		if (err == nil) != (test.want != nil) {
			t.Errorf("%v: %v", test.sockets, err)
		}
		for _, line := range test.want {
			if !strings.Contains(text, "\n"+line+"\n") {
				t.Errorf("%v: no %s in\n%s", test.sockets, line, text)
			}
		}
	}
	if _, err := systemd.SocketUnit(simple(), "a:b"); err == nil {
		t.Error("a name with a colon is no fault")
	}
}
