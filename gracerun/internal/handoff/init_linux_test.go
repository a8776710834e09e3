package handoff

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/gracerun/internal/handoff/early"
)

// What is set up once for a process is tried in processes of its own: the parts
// that TestMain plays.
func helpers() map[string]func() error {
	return map[string]func() error{
		"stranger": stranger, "name": name, "workdir": workdir, "stdio": stdio,
		"daemon": daemon, "launcher": launcher, "generation": generation,
	}
}

// helper returns a command that plays the part.
func helper(part string, env ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), append(env, "HANDOFF_HELPER="+part, "GORACE=atexit_sleep_ms=0")...)
	return cmd
}

// output runs cmd and returns what it printed.
func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		t.Fatalf("%v: %s", err, exit.Stderr)
	}
	check(t, err)
	return strings.TrimSpace(string(out))
}

// TestLeakedVariables is a command that some program which uses tableflip has
// started: it has the variable, and maybe that program's own pipes at 3 and 4, and
// even the variable of a launch, but no predecessor of ours. It is a first
// generation, and touches nothing.
func TestLeakedVariables(t *testing.T) {
	t.Parallel()
	for name, fifth := range map[string]func(t *testing.T) *os.File{
		"nothing":        func(*testing.T) *os.File { return nil },
		"a file":         func(t *testing.T) *os.File { return open(t, os.DevNull) },
		"an empty queue": func(t *testing.T) *os.File { return queue(t, "") },
		"another's":      func(t *testing.T) *os.File { return queue(t, "GET / HTTP/1.1") },
		"another type":   func(t *testing.T) *os.File { return queue(t, frameOf(t, message{Type: typeGo})) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := helper("stranger", early.Sentinel+"=yes", early.Launch+"=yes")
			heard, speak := pipe(t)
			listen, said := pipe(t)
			cmd.ExtraFiles = []*os.File{speak, listen}
			if f := fifth(t); f != nil {
				sockets, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
				check(t, err)
				defer unix.Close(sockets[1])
				sixth := os.NewFile(uintptr(sockets[0]), "stream")
				defer sixth.Close()
				cmd.ExtraFiles = append(cmd.ExtraFiles, f, sixth)
			}
			cmd.Stderr = t.Output()
			check(t, cmd.Start())
			speak.Close()
			listen.Close()
			_, err := io.WriteString(said, "question")
			check(t, errors.Join(err, said.Close()))
			answer, err := io.ReadAll(heard)
			if err != nil || string(answer) != "question answered" {
				t.Errorf("through the pipes: %q, %v", answer, err)
			}
			check(t, cmd.Wait())
		})
	}
	t.Run("the runtime's own descriptors", func(t *testing.T) {
		t.Parallel()
		cmd := helper("stranger", early.Sentinel+"=yes", early.Launch+"=yes", "HANDOFF_NO_PIPES=1")
		cmd.Stderr = t.Output()
		check(t, cmd.Run())
	})
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	check(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	check(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// queue returns a socket like our channel's, in which text waits.
func queue(t *testing.T, text string) *os.File {
	t.Helper()
	ours, theirs, err := newPair()
	check(t, err)
	t.Cleanup(func() { ours.close(); theirs.Close() })
	if text != "" {
		sendRaw(t, ours, text)
	}
	return theirs
}

func stranger() error {
	if Inherited() {
		return errors.New("it believes in a predecessor")
	}
	before := waiting()
	self, err := Claim("test")
	if err != nil {
		return err
	}
	defer self.Close()
	if self.Number() != 1 || self.Legacy() != nil || self.HUP() {
		return fmt.Errorf("generation %d with the legacy %v", self.Number(), self.Legacy())
	}
	if v, ok := os.LookupEnv(early.Sentinel); ok {
		return fmt.Errorf("%s=%s is still there", early.Sentinel, v)
	}
	if now := waiting(); now != before {
		return fmt.Errorf("somebody else's queue: %q, was %q", now, before)
	}
	if os.Getenv("HANDOFF_NO_PIPES") != "" {
		return nil
	}
	r, w := os.NewFile(early.Names, "names"), os.NewFile(early.Ready, "ready")
	question, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s answered", question)
	return errors.Join(err, w.Close())
}

// waiting is what waits in the queue at the channel's place, if there is one.
func waiting() string {
	buf := make([]byte, 1000)
	n, _, err := unix.Recvfrom(early.Channel, buf, unix.MSG_PEEK|unix.MSG_DONTWAIT)
	if err != nil {
		return err.Error()
	}
	return string(buf[:n])
}

// TestAbsoluteName: the name under which a process was started leads to the
// program that is there at the next upgrade, wherever the process is then.
func TestAbsoluteName(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir()) // the one os.Getwd reports
	check(t, err)
	binary, err := os.Executable()
	check(t, err)
	check(t, os.Mkdir(filepath.Join(dir, "release-42"), 0o755))
	check(t, os.Symlink(binary, filepath.Join(dir, "release-42", "svc")))
	check(t, os.Symlink("release-42", filepath.Join(dir, "current")))
	for name, want := range map[string]string{
		filepath.Join(dir, "current", "svc"): filepath.Join(dir, "current", "svc"),
		"./current/svc":                      filepath.Join(dir, "current", "svc"),
		"current/../current/svc":             filepath.Join(dir, "current", "svc"),
		"svc":                                filepath.Join(dir, "current", "svc"), // by $PATH
		"-made-up":                           binary,
		"no/such/file":                       binary,
	} {
		cmd := helper("name", "PATH="+filepath.Join(dir, "current"))
		cmd.Dir = dir
		cmd.Path, cmd.Args[0] = binary, name
		if got := output(t, cmd); got != want {
			t.Errorf("%s became %s, want %s", name, got, want)
		}
	}
}

// name changes the working directory first, as a daemon does.
func name() error {
	if err := os.Chdir("/"); err != nil {
		return err
	}
	err := useAbsoluteName()
	fmt.Println(os.Args[0])
	return err
}

func TestWorkingDirectory(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	check(t, err)
	for change, want := range map[string]string{
		"nothing": dir,
		"leave":   dir,
		"remove":  ".",
	} {
		check(t, os.MkdirAll(dir, 0o755))
		cmd := helper("workdir", "HANDOFF_CHANGE="+change)
		cmd.Dir = dir
		if got := output(t, cmd); got != want {
			t.Errorf("%s: children start in %q, want %q", change, got, want)
		}
	}
}

func workdir() error {
	var err error
	switch os.Getenv("HANDOFF_CHANGE") {
	case "leave":
		err = os.Chdir("/")
	case "remove":
		err = os.Remove(firstDir)
	}
	useWorkingDirectory()
	fmt.Println(engineDir)
	return err
}

// TestStandardFiles: what the service has closed is the null device for the
// engine, what is open stays.
func TestStandardFiles(t *testing.T) {
	t.Parallel()
	if got := output(t, helper("stdio")); got != "fine" {
		t.Errorf("it says %q", got)
	}
}

func stdio() error {
	os.Stdin.Close()
	os.Stderr = nil
	out := os.Stdout
	useOpenStandardFiles()
	for _, f := range []*os.File{os.Stdin, os.Stderr} {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if info.Mode()&fs.ModeCharDevice == 0 || f.Name() != os.DevNull {
			return fmt.Errorf("in its place is %s, %v", f.Name(), info.Mode())
		}
	}
	if os.Stdout != out {
		return errors.New("the standard output, which was open, has changed")
	}
	fmt.Println("fine")
	return nil
}
