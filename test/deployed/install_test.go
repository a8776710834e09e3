//go:build linux

package deployed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gracerun/grace/test/harness"
)

// TestInstall runs unit, install and uninstall where there is a systemd, the machine's
// and the one that GRACERUN_SYSTEMD_ROOT names the files of. Its /etc/systemd/system is
// not the machine's.
func TestInstall(t *testing.T) {
	t.Parallel()
	program := build(t, "example/http")
	stories := map[string]func(*testing.T, installed){
		"plain": installNotify, "forked": installForking, "kept": installKeeps, "lazy": installActivated,
	}
	programs := map[string]string{}
	for name := range stories {
		programs[name] = program
	}
	roots := []string{""}
	if root := os.Getenv("GRACERUN_SYSTEMD_ROOT"); root != "" {
		roots = append(roots, root)
	}
	for _, root := range roots {
		s, err := harness.StartSystemd(t.Context(), harness.SystemdConfig{Root: root, Programs: programs})
		if errors.Is(err, errors.ErrUnsupported) {
			t.Skipf("skipped: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		for name, story := range stories {
			t.Run(fmt.Sprint(name, s.Version), func(t *testing.T) {
				t.Parallel()
				story(t, installed{t, s, name, harness.FreeAddress(t)})
			})
		}
	}
}

// installed is a service that has the verbs.
type installed struct {
	*testing.T
	*harness.Systemd
	name, addr string
}

// does runs a verb, which must end with this status and say these texts.
func (in installed) does(status int, verb string, texts ...string) string {
	in.Helper()
	args := append([]string{"/usr/local/bin/" + in.name, "-addr", in.addr}, strings.Fields(verb)...)
	return in.runs(status, args, texts...)
}

func (in installed) runs(status int, args []string, texts ...string) string {
	in.Helper()
	out, err := in.Exec(in.Context(), args...)
	code, exit := 0, new(exec.ExitError)
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		in.Fatalf("%q: %v", args, err)
	}
	if code != status || slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(out, text) }) {
		in.Fatalf("%q: exit status %d, want %d and %q in:\n%s\n%s", args, code, status, texts, out, in.journal())
	}
	return out
}

// is asks systemd for properties of the service.
func (in installed) is(want string, properties ...string) {
	in.Helper()
	if got, err := in.Show(in.Context(), in.name+".service", properties...); err != nil || got != want {
		in.Errorf("%q = %q, %v, want %q\n%s", properties, got, err, want, in.journal())
	}
}

// answers asks the service itself.
func (in installed) answers(text string) {
	in.Helper()
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + in.addr + "/")
	if err != nil {
		in.Fatalf("%v\n%s", err, in.journal())
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || !strings.HasPrefix(string(body), text) {
		in.Fatalf("the answer is %q, %v, want %q", body, err, text)
	}
}

// journal is what there is to know of a failure.
func (in installed) journal() string {
	text, _ := in.Systemctl(context.WithoutCancel(in.Context()), "status", in.name+".service")
	return text
}

func (in installed) path(suffix string) string { return "/etc/systemd/system/" + in.name + suffix }

// mainIsOwner compares systemd's view with the pid file's, which it reads by itself when
// an older main process has ended.
func (in installed) mainIsOwner() {
	in.Helper()
	var main, owner string
	for limit := time.Now().Add(10 * time.Second); time.Now().Before(limit); time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(in.Path("/run/" + in.name + "/" + in.name + ".pid"))
		if err != nil {
			in.Fatal(err)
		}
		owner = strings.TrimSpace(string(text))
		if main, err = in.Show(in.Context(), in.name+".service", "MainPID"); err != nil {
			in.Fatal(err)
		}
		if main == owner {
			return
		}
	}
	in.Fatalf("systemd follows %s, and the service is %s\n%s", main, owner, in.journal())
}

func installNotify(t *testing.T, in installed) {
	in.does(0, "install --watchdog=1m", "wrote "+in.path(".service"), "to start it now: systemctl start plain.service")
	in.is("enabled inactive", "UnitFileState", "ActiveState")
	in.does(0, "install --watchdog=1m --now", "is as it should be", "plain.service runs (pid ")
	in.is("active notify 1min", "ActiveState", "Type", "WatchdogUSec")
	in.mainIsOwner()
	in.does(1, "restart --hard", "systemd runs it", "use: systemctl restart plain.service")
	in.is("active", "ActiveState")
	in.answers("generation 1 ")
	in.does(0, "install --now", "wrote", "it runs (pid ", "to have it run by the unit as it is now: systemctl restart plain.service")
	in.answers("generation 1 ") // still
	in.does(0, "uninstall", "stopped", "removed "+in.path(".service"))
	in.is("not-found inactive", "LoadState", "ActiveState")
	in.does(3, "status")
	in.does(0, "uninstall", "not installed")
}

// installForking: systemd follows the daemon by its pid file, also to the next generation.
func installForking(t *testing.T, in installed) {
	in.does(0, "install --type forking --now", "forked.service runs (pid ")
	in.is("active forking", "ActiveState", "Type")
	in.mainIsOwner()
	in.runs(0, []string{"systemctl", "reload", in.name})
	in.answers("generation 2 ")
	in.mainIsOwner()
	in.does(0, "uninstall", "stopped, and starts with the system no more")
	in.is("not-found inactive", "LoadState", "ActiveState")
}

// installKeeps what is not its own, and what runs.
func installKeeps(t *testing.T, in installed) {
	in.does(0, "start")
	in.does(1, "install --now", "kept: it runs already (pid ", "not as kept.service: end it first with kept stop")
	in.does(0, "stop")
	in.runs(4, []string{"-S", "65534", "-G", "65534", "/usr/local/bin/kept", "install"}, "only root may change /etc/systemd/system")

	in.does(1, "install --program /usr/local/bin/absent", "/usr/local/bin/absent", "systemd would not take the unit")
	in.is("not-found", "LoadState")

	// A port that is in use is told by whoever starts it.
	in.does(0, "start")
	other := append([]string{"/usr/local/bin/kept", "-addr", in.addr, "-rundir", "/run/other"}, "install", "--now")
	in.runs(1, other, "systemctl start kept.service: exit status 1", "its last status: ", "address already in use")
	in.does(0, "stop")

	path := in.Path(in.path(".service"))
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "Restart=on-failure", "Restart=always", 1)
	if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	in.does(1, "install", "was changed since it was written")
	in.does(1, "uninstall", "was changed since it was written")
	in.does(0, "install --force", "wrote")
	in.does(0, "uninstall", "removed")
}

// installActivated: systemd has the port, and starts the service when somebody comes.
func installActivated(t *testing.T, in installed) {
	in.does(0, "install --activated", "wrote "+in.path(".socket"), "enabled", "to start it now: systemctl start lazy.socket")
	in.runs(0, []string{"systemctl", "start", "lazy.socket"})
	in.is("inactive", "ActiveState")
	in.answers("generation 1 ")
	in.is("active", "ActiveState")
	in.does(1, "install", "lazy.socket is there since an install --activated")
	in.does(0, "install --activated --now", "is as it should be", "it runs (pid ")
	in.does(0, "uninstall", "removed "+in.path(".socket"), "removed "+in.path(".service"))
	in.is("not-found inactive", "LoadState", "ActiveState")
	if c, err := net.Dial("tcp", in.addr); err == nil {
		c.Close()
		t.Error("somebody listens still")
	}
}
