package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// SystemdConfig says which systemd is booted, and with what. The zero value is the
// machine's, with nothing to do.
type SystemdConfig struct {
	// Root has the files of another system, as newer.sh makes them. "" = those of the machine.
	Root string
	// Units are files of /run/systemd/system, by name.
	Units map[string]string
	// Programs are files of /usr/local/bin: paths of what is copied there, by name.
	Programs map[string]string
	// Journal has journald run. Without it units write to files.
	Journal bool
	// Network makes a network of its own, with the loopback interface alone: any port is free.
	Network bool
}

// A Systemd runs as process 1 of pid, mount and cgroup namespaces of its own. What it
// writes is gone with it, and so are its processes.
type Systemd struct {
	// Dir is what is called /run/bench inside: both sides can write there.
	Dir string
	// Version is 252, say.
	Version int

	cfg SystemdConfig
	pid int // of process 1, here
	end func() error
}

// Systemctl runs systemctl inside, and returns what it says, without the newline at the
// end. The error is that of its exit status.
func (s *Systemd) Systemctl(ctx context.Context, args ...string) (string, error) {
	return s.Exec(ctx, append([]string{"systemctl", "--no-pager"}, args...)...)
}

// Exec runs a program inside.
func (s *Systemd) Exec(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	in := []string{"-t", strconv.Itoa(s.pid), "-m", "-p", "-C"}
	if s.cfg.Network {
		in = append(in, "-n")
	}
	text, err := exec.CommandContext(ctx, "nsenter", append(in, args...)...).CombinedOutput()
	return strings.TrimSpace(string(text)), err
}

// Show returns properties of a unit, in the order asked for, with a space between them.
func (s *Systemd) Show(ctx context.Context, unit string, names ...string) (string, error) {
	text, err := s.Systemctl(ctx, "show", "-p", strings.Join(names, ","), unit)
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, text)
	}
	value := map[string]string{}
	for line := range strings.Lines(text) {
		k, v, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		value[k] = v
	}
	values := make([]string, len(names))
	for i, name := range names {
		values[i] = value[name]
	}
	return strings.Join(values, " "), nil
}

// Path returns how a path inside is called here. It is good for sockets, too.
func (s *Systemd) Path(inside string) string { return fmt.Sprintf("/proc/%d/root%s", s.pid, inside) }

// Install puts a program into /usr/local/bin, by a rename.
func (s *Systemd) Install(name, from string) error {
	to := s.Dir + "/bin/" + name
	if err := link(from, to+".new"); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}

// Close ends it, and all that it started.
func (s *Systemd) Close() error { return s.end() }

// A UnitProcess is one in the cgroup of a unit.
type UnitProcess struct {
	Process
	Inside int // its pid for systemd
}
