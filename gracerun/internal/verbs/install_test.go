//go:build linux

package verbs_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun/internal/systemd"
	"github.com/gracerun/grace/gracerun/internal/verbs"
)

// unitary is a service for which there can be units.
func unitary(t *testing.T) *verbs.Service {
	s := serviceAt(temp(t))
	s.Unit = func(_ context.Context, forking bool) (systemd.Params, error) {
		return systemd.Params{
			Name: s.Name, Program: "/opt/hello", Args: []string{"-v"}, Version: 257, Forking: forking,
			RunDir: "/run/hello", PIDFile: "/run/hello/hello.pid", Ready: time.Minute, Drain: time.Minute,
			Sockets: []systemd.Address{{Network: "tcp", Address: ":8080"}},
		}, nil
	}
	return s
}

func TestUnit(t *testing.T) {
	t.Parallel()
	s := unitary(t)
	for _, c := range []struct{ args, has, lacks string }{
		{"", "Type=notify\n", "Watchdog"},
		{"", "ExecStart=/opt/hello -v run\n", "Requires"},
		{"--type=notify-reload", "Type=notify-reload\n", "ExecReload"},
		{"--type=forking", "ExecStart=/opt/hello -v start --detach\n", "NotifyAccess"},
		{"--watchdog 90", "WatchdogSec=90\n", "Requires"},
		{"--activated", "Requires=hello.socket\n", "ListenStream"},
		{"--socket", "ListenStream=8080\n", "ExecStart"},
		{"--program /srv/current/hello", "ExecStart=/srv/current/hello -v run\n", "/opt"},
	} {
		doWith(t, s, append([]string{"unit"}, strings.Fields(c.args)...)...).want(0, c.has).lacks(c.lacks)
	}
	v := doWith(t, s, "unit", "--json").want(0).object()
	if text, _ := v["message"].(string); !strings.HasPrefix(text, "[Unit]\n") {
		t.Errorf("%v", v)
	}
}

func TestUnitFails(t *testing.T) {
	t.Parallel()
	s := unitary(t)
	s.Name = "hello world"
	doWith(t, s, "unit").want(1, `the name "hello world" cannot be that of a unit`)
	s.Name = "hello"
	s.Unit = func(context.Context, bool) (systemd.Params, error) { return systemd.Params{}, errors.New("two faults") }
	doWith(t, s, "unit").want(1, "hello: two faults\n")
	p := systemd.Params{Name: "hello", Program: "hello"}
	s.Unit = func(context.Context, bool) (systemd.Params, error) { return p, nil }
	doWith(t, s, "unit").want(1, "must be an absolute path: use --program")
	doWith(t, s, "unit", "--program=/opt/hello", "--socket").want(1, "no socket unit: the service has no sockets")
	p.Incomplete = true
	doWith(t, s, "unit", "--program=/opt/hello", "--socket").want(1, "register it before Main")
	p.Named = []string{"http"}
	doWith(t, s, "unit", "--program=/opt/hello", "--socket").want(1, "FileDescriptorName=http and Service=hello.service")
	p.Sockets = []systemd.Address{{Network: "tcp", Address: ":80"}}
	doWith(t, s, "unit", "--program=/opt/hello", "--socket").want(0, "ListenStream=80\n", `the address of "http"`, "if Setup registers more")
}

// TestRelativeWord: a file of the command line that is not there for the service.
func TestRelativeWord(t *testing.T) {
	t.Parallel()
	s := unitary(t)
	params, _ := s.Unit(t.Context(), false)
	s.Unit = func(context.Context, bool) (systemd.Params, error) { return params, nil }
	for _, word := range []string{"install_test.go", "-config=install_test.go", "testdata/"} {
		params.Args = []string{word}
		doWith(t, s, "unit").want(0, "begins in /, where "+strings.TrimPrefix(word, "-config=")+" is something else")
	}
	dir, err := os.Getwd()
	check(t, err)
	for _, word := range []string{"none.json", "-v", filepath.Join(dir, "install_test.go"), "-x=", ""} {
		params.Args = []string{word}
		doWith(t, s, "unit").want(0).lacks("something else")
	}
	params.Args, params.Dir = []string{"install_test.go"}, dir
	doWith(t, s, "unit").want(0).lacks("something else")
}

func TestInstall(t *testing.T) {
	t.Parallel()
	s, dir := unitary(t), temp(t)
	service, socket := filepath.Join(dir, "hello.service"), filepath.Join(dir, "hello.socket")
	doWith(t, s, "install", "--dir", dir, "--activated").want(0, "wrote "+service+"\n", "wrote "+socket+"\n")
	info, err := os.Stat(service)
	check(t, err)
	if info.Mode() != 0o644 {
		t.Errorf("its mode is %v", info.Mode())
	}
	doWith(t, s, "install", "--dir", dir, "--activated").want(0, service+" is as it should be").lacks("wrote")
	doWith(t, s, "install", "--dir", dir).want(1, socket+" is there since an install --activated")
	doWith(t, s, "install", "--dir", dir, "--activated", "--watchdog=9").want(0, "wrote "+service, socket+" is as it should be")
	text, err := os.ReadFile(service)
	check(t, err)
	if !strings.HasSuffix(string(text), "\n"+doWith(t, s, "unit", "--activated", "--watchdog=9").out) {
		t.Errorf("it is not what unit prints:\n%s", text)
	}
	doWith(t, s, "uninstall", "--dir", dir).want(0, "removed "+service, "removed "+socket)
	doWith(t, s, "uninstall", "--dir", dir).want(0, "not installed in "+dir)
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestInstallKeeps what somebody else has written, or changed.
func TestInstallKeeps(t *testing.T) {
	t.Parallel()
	s, dir := unitary(t), temp(t)
	path := filepath.Join(dir, "hello.service")
	doWith(t, s, "install", "--dir", dir).want(0)
	written, err := os.ReadFile(path)
	check(t, err)
	for _, c := range []struct{ text, why string }{
		{strings.Replace(string(written), "Restart=on-failure", "Restart=always", 1), "was changed since it was written"},
		{string(written) + "\n", "was changed"},
		{"[Service]\nExecStart=/opt/hello\n", "was not written by hello install"},
		{"", "was not written"}, // so it looks if it is masked
	} {
		check(t, os.WriteFile(path, []byte(c.text), 0o600))
		doWith(t, s, "install", "--dir", dir, "--watchdog=5").want(1, path+" "+c.why)
		doWith(t, s, "uninstall", "--dir", dir).want(1, path+" "+c.why)
		if got, err := os.ReadFile(path); err != nil || string(got) != c.text {
			t.Errorf("it is %q now, %v", got, err)
		}
	}
	doWith(t, s, "install", "--dir", dir, "--force").want(0, "wrote "+path)
	doWith(t, s, "uninstall", "--dir", dir).want(0, "removed "+path)
	check(t, os.WriteFile(path, []byte("mine"), 0o600))
	doWith(t, s, "uninstall", "--dir", dir, "--force").want(0, "removed "+path)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestInstallInPart: nothing is written if one of the units cannot be.
func TestInstallInPart(t *testing.T) {
	t.Parallel()
	s, dir := unitary(t), temp(t)
	check(t, os.WriteFile(filepath.Join(dir, "hello.socket"), []byte("[Socket]\n"), 0o600))
	doWith(t, s, "install", "--dir", dir, "--activated").want(1, "hello.socket was not written by hello install")
	if !missing(filepath.Join(dir, "hello.service")) {
		t.Error("the service unit was written")
	}
	doWith(t, s, "install", "--dir", filepath.Join(dir, "none")).want(1, "no such file or directory")
}

func missing(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// TestInstallWithoutSystemd: 5 is for a program that is missing.
func TestInstallWithoutSystemd(t *testing.T) {
	t.Parallel()
	if systemd.Booted() {
		t.Skip("skipped: systemd runs here")
	}
	for _, verb := range []string{"install", "uninstall"} {
		doWith(t, unitary(t), verb).want(5, "systemd does not run here")
	}
}

// TestDetach: start makes a daemon even where it would stay in the foreground.
func TestDetach(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	s, starts := starter(t, dir)
	s.Foreground = func() string { return "systemd follows it" }
	s.Run = func(context.Context) error { return errors.New("in the foreground") }
	doWith(t, s, "start").want(1, "start stays in the foreground: systemd follows it", "in the foreground")
	doWith(t, s, "start", "--detach").want(0, "started (pid ").lacks("foreground")
	if *starts != 1 {
		t.Errorf("%d starts", *starts)
	}
	doWith(t, s, "stop").want(0)
}
