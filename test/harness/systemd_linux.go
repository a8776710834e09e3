package harness

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

//go:embed pid1.sh
var pid1 []byte

// StartSystemd boots one, and returns when it is up. An error that wraps
// [errors.ErrUnsupported] says why that cannot be here.
func StartSystemd(ctx context.Context, cfg SystemdConfig) (*Systemd, error) {
	if err := supported(cfg.Root); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bench") // short: sockets have their paths in it
	if err != nil {
		return nil, err
	}
	s := &Systemd{Dir: dir, cfg: cfg}
	s.end = func() error { return os.RemoveAll(dir) }
	if err := s.fill(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.boot(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// supported says what is missing.
func supported(root string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("systemd in namespaces of its own needs root: %w", errors.ErrUnsupported)
	}
	for _, program := range []string{"/lib/systemd/systemd", "/usr/bin/systemctl"} {
		if _, err := os.Stat(root + program); err != nil {
			return fmt.Errorf("no systemd: %w: %w", err, errors.ErrUnsupported)
		}
	}
	for _, program := range []string{"unshare", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w: %w", err, errors.ErrUnsupported)
		}
	}
	return nil
}

// fill writes the directory.
func (s *Systemd) fill() error {
	for _, name := range []string{"units", "bin", "cgroup"} {
		if err := os.Mkdir(filepath.Join(s.Dir, name), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(s.Dir, 0o755); err != nil {
		return err
	}
	for name, text := range s.cfg.Units {
		if err := os.WriteFile(filepath.Join(s.Dir, "units", name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for name, from := range s.cfg.Programs {
		if err := s.Install(name, from); err != nil {
			return err
		}
	}
	return WriteProgram(filepath.Join(s.Dir, "pid1.sh"), pid1, 0o755)
}

// boot starts the script. It ends with its standard input, which is also how it ends when
// this process is killed.
func (s *Systemd) boot(ctx context.Context) error {
	yes := map[bool]string{true: "1"}
	cmd := exec.Command("sh", filepath.Join(s.Dir, "pid1.sh"), "boot", s.Dir, s.cfg.Root, yes[s.cfg.Journal], yes[s.cfg.Network])
	var said bytes.Buffer // by the script, and by systemd
	cmd.Stderr = &said
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ctx, gone := context.WithCancelCause(ctx)
	defer gone(nil)
	parent, read := make(chan int, 1), make(chan struct{})
	go func() {
		defer close(read)
		defer gone(fmt.Errorf("systemd does not boot here: %w", errors.ErrUnsupported))
		var pid int
		if _, err := fmt.Fscanln(out, &pid); err == nil {
			parent <- pid
		}
		io.Copy(io.Discard, out)
	}()
	s.end = sync.OnceValue(func() error {
		in.Close()
		<-read // before Wait, which closes what is read from
		err := cmd.Wait()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, &said)
		}
		return errors.Join(err, os.RemoveAll(s.Dir))
	})
	if err := s.await(ctx, parent); err != nil {
		return errors.Join(err, s.end())
	}
	return nil
}

// await waits until it is up: then it has read all units, and takes orders.
func (s *Systemd) await(ctx context.Context, parent <-chan int) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var unshare int
	select {
	case unshare = <-parent:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return Until(ctx, func() error {
		if s.pid = childOf(unshare); s.pid == 0 {
			return errors.New("process 1 is not there yet")
		}
		state, err := s.Systemctl(ctx, "is-system-running")
		if state != "running" && state != "degraded" {
			return fmt.Errorf("systemd is %q: %w", state, err)
		}
		text, err := s.Systemctl(ctx, "--version")
		fmt.Sscanf(text, "systemd %d", &s.Version)
		return err
	})
}

// childOf returns a child of the process, or 0.
func childOf(parent int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

// UnitProcesses returns the processes of a unit that are no zombies, by age.
func (s *Systemd) UnitProcesses(ctx context.Context, unit string) ([]UnitProcess, error) {
	group, err := s.Show(ctx, unit, "ControlGroup")
	if err != nil || group == "" {
		return nil, err
	}
	text, err := os.ReadFile(s.Path("/sys/fs/cgroup" + group + "/cgroup.procs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []UnitProcess
	for word := range strings.FieldsSeq(string(text)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			return nil, err
		}
		inside, err := insidePID(pid)
		if err != nil {
			continue // it has ended
		}
		p, err := readStat(pid)
		if err != nil || p.State == 'Z' {
			continue
		}
		args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		p.Args = splitNul(args)
		list = append(list, UnitProcess{p, inside})
	}
	return list, nil
}

// Busy has systemd do nothing, as one does that waits for a generator, until idle is called.
func (s *Systemd) Busy() (idle func() error, err error) {
	err = syscall.Kill(s.pid, syscall.SIGSTOP)
	return func() error { return syscall.Kill(s.pid, syscall.SIGCONT) }, err
}

// Signal sends a signal to a process of a unit at once: systemctl kill may be on its way
// for a while, and sends SIGCONT, too.
func (p UnitProcess) Signal(sig syscall.Signal) error { return syscall.Kill(p.PID, sig) }

// insidePID is what a process is called in its own namespace.
func insidePID(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if pids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			f := strings.Fields(pids)
			return strconv.Atoi(f[len(f)-1])
		}
	}
	return 0, fs.ErrNotExist
}

// Dial connects to an address of the network inside. The address must be a number: this
// thread alone goes there.
func (s *Systemd) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	if !s.cfg.Network {
		return d.DialContext(ctx, network, address)
	}
	here, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return nil, err
	}
	defer here.Close()
	there, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", s.pid))
	if err != nil {
		return nil, err
	}
	defer there.Close()
	runtime.LockOSThread() // and if there is no way back, it ends with the goroutine
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, os.NewSyscallError("setns", err)
	}
	c, err := d.DialContext(ctx, network, address)
	if back := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); back != nil {
		return nil, errors.Join(err, os.NewSyscallError("setns", back))
	}
	runtime.UnlockOSThread()
	return c, err
}
