package command

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/gracerun/grace/gracerun/internal/daemon"
	"github.com/gracerun/grace/gracerun/internal/handoff/early"
	"github.com/gracerun/grace/gracerun/internal/systemd"
)

// A program is what is to be started now.
type program struct {
	name       string // of the command
	path, dir  string
	args, env  []string
	stdin      *os.File    // nil: the null device
	outputs    [2]*os.File // standard output and error; nil: a FIFO of ours
	extra      []*os.File
	attr       syscall.SysProcAttr
	definition string // hash
}

// program asks what is to be started. ctx is never cancelled: os/exec does not
// start it, so that its context would end nothing.
func (s Spec) program(ctx context.Context) (*program, error) {
	cmd := s.Cmd(context.WithoutCancel(ctx))
	if cmd == nil {
		return nil, errors.New("the function of the command returned no command")
	}
	if cmd.Err != nil {
		return nil, cmd.Err
	}
	p := &program{name: s.Name, path: cmd.Path, dir: cmd.Dir, args: cmd.Args, extra: cmd.ExtraFiles}
	if len(p.args) == 0 {
		p.args = []string{cmd.Path}
	}
	var err error
	if p.stdin, err = file("Stdin", cmd.Stdin); err != nil {
		return nil, err
	}
	for i, w := range []io.Writer{cmd.Stdout, cmd.Stderr} {
		if p.outputs[i], err = file([]string{"Stdout", "Stderr"}[i], w); err != nil {
			return nil, err
		}
	}
	if cmd.SysProcAttr != nil {
		p.attr = *cmd.SysProcAttr
	}
	p.define(s, cmd)
	id, err := daemon.Lookup("Command.", s.User, s.Group)
	if err != nil {
		return nil, err
	}
	p.env = environment(cmd, id)
	return p, p.attributes(id)
}

// file returns nil for nil.
func file(field string, value any) (*os.File, error) {
	switch f := value.(type) {
	case nil:
		return nil, nil
	case *os.File:
		return f, nil
	}
	return nil, fmt.Errorf("the command's %s is a %T: only an *os.File outlives the service", field, value)
}

// define makes the hash. What is not in it can change without a restart: when the
// program is started again, and the environment of the service.
func (p *program) define(s Spec, cmd *exec.Cmd) {
	attr := p.attr
	attr.PidFD, attr.CgroupFD = nil, 0 // descriptors are other ones in each generation
	names := []string{}
	for _, f := range append([]*os.File{p.stdin, p.outputs[0], p.outputs[1]}, p.extra...) {
		if f != nil {
			names = append(names, f.Name())
		} else {
			names = append(names, "")
		}
	}
	own, inherits := said(cmd)
	text, err := json.Marshal([]any{
		cmd.Path, cmd.Args, own, inherits, cmd.Dir, attr, names, s.User, s.Group,
		s.ReadyDelay, s.ReadyAddress, s.ReadyLine, s.ReadyNotify, s.ReadyTimeout,
		s.StopSignal, s.StopTimeout, s.Output, s.ErrorOutput,
	})
	if err != nil { // of nothing that the list can hold
		panic(err)
	}
	sum := sha256.Sum256(text)
	p.definition = hex.EncodeToString(sum[:16])
}

// attributes makes the program the leader of a group.
func (p *program) attributes(id *daemon.Identity) error {
	if p.attr.Pdeathsig != 0 {
		return errors.New("the command's SysProcAttr.Pdeathsig would end it at each upgrade: leave it to the App")
	}
	if id != nil {
		if p.attr.Credential != nil {
			return errors.New("both User or Group and SysProcAttr.Credential say whom it runs as: set one")
		}
		p.attr.Credential = &syscall.Credential{Uid: id.UID, Gid: id.GID, Groups: id.Groups}
	}
	p.attr.Setpgid, p.attr.Pgid = !p.attr.Setsid, 0 // who leads a session leads a group
	p.attr.PidFD = nil
	return nil
}

// environment is without what supervisors say to the service itself, unless the
// user says it to the program: what is there as the service has it is not said.
func environment(cmd *exec.Cmd, id *daemon.Identity) []string {
	own, _ := said(cmd)
	env := slices.DeleteFunc(cmd.Environ(), func(v string) bool { return isOurs(v) && !slices.Contains(own, v) })
	for _, v := range id.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if !slices.ContainsFunc(own, func(v string) bool { return strings.HasPrefix(v, name+"=") }) {
			env = setenv(env, v)
		}
	}
	return env
}

// said is what the user says beyond the environment of the service, which is another
// one in another shell, and whether the program has all of that.
func said(cmd *exec.Cmd) (own []string, inherits bool) {
	service := os.Environ()
	own = slices.DeleteFunc(slices.Clone(cmd.Env), func(v string) bool { return slices.Contains(service, v) })
	missing := func(v string) bool { return !slices.Contains(cmd.Env, v) }
	return own, cmd.Env == nil || !slices.ContainsFunc(service, missing)
}

func setenv(env []string, v string) []string {
	name, _, _ := strings.Cut(v, "=")
	env = slices.DeleteFunc(env, func(old string) bool { return strings.HasPrefix(old, name+"=") })
	return append(env, v)
}

// isOurs reports whether the variable v belongs to the hand-over, or to the protocol
// of a supervisor that watches the service.
func isOurs(v string) bool {
	name, _, _ := strings.Cut(v, "=")
	switch name {
	case early.Sentinel, "MAINPID":
		return true
	}
	return slices.Contains(systemd.Variables(), name) || strings.HasPrefix(name, "GRACERUN_")
}

const notifySocket = "NOTIFY_SOCKET"

// explain adds the way out to an error of a start.
func (p *program) explain(err error) error {
	// fork/exec names the program, also where it is the directory.
	if _, derr := os.Stat(p.dir + "/."); derr != nil && p.dir != "" && p.attr.Chroot == "" {
		return &fs.PathError{Op: "chdir", Path: p.dir, Err: fmt.Errorf("%w: make the directory, or name another", errors.Unwrap(derr))}
	}
	hint := ""
	switch {
	case errors.Is(err, syscall.EACCES) && p.attr.Credential != nil:
		hint = fmt.Sprintf("the user %d must be able to execute it, and to enter its directory", p.attr.Credential.Uid)
	case errors.Is(err, syscall.EACCES):
		hint = "make it executable (chmod +x), or name another"
	case errors.Is(err, syscall.EPERM) && p.attr.Credential != nil:
		hint = "only root can run it as another user"
	case errors.Is(err, fs.ErrNotExist):
		hint = "install it, or name another"
		if _, serr := os.Stat(p.path); serr == nil && p.dir == "" {
			hint = "it is there: its interpreter, or the loader of its libraries, is not"
		}
	case errors.Is(err, syscall.ENOEXEC):
		hint = "it is no program for this machine, or a script without #!"
	default:
		return err
	}
	return fmt.Errorf("%w: %s", err, hint)
}
