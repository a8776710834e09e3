package daemon_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/gracerun/grace/gracerun/internal/daemon"
)

// inRoot is a Config with a Chroot, so that tests have a /run of their own.
func inRoot(t *testing.T) (daemon.Config, string) {
	t.Helper()
	root(t)
	dir := dir(t)
	write(t, dir+"/bin/sh", "", 0o755)
	for _, d := range []string{"/run", "/log"} {
		if err := os.Mkdir(dir+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c := config()
	c.Chroot, c.RunDir = dir, "/run/svc"
	c.User, c.Group = fmt.Sprint(nobody), fmt.Sprint(nobody)
	return c, dir
}

func prepare(t *testing.T, c daemon.Config) *daemon.Plan {
	t.Helper()
	p := resolve(t, c)
	if err := p.Prepare(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestRunDirIsMadeAndGiven(t *testing.T) {
	t.Parallel()
	c, dir := inRoot(t)
	for range 2 { // the second time it is there
		prepare(t, c)
		if got := owner(t, dir+"/run/svc"); got != "54321:54321 0755" {
			t.Errorf("it is %s", got)
		}
	}
	c.User, c.Group, c.RunDir = "", "", "/run/a/b"
	prepare(t, c)
	if got := owner(t, dir+"/run/a/b"); got != "0:0 0755" {
		t.Errorf("without a user it is %s", got)
	}
}

// playPrepare is a launcher with the umask of a careful, or careless, person.
func playPrepare() error {
	var umask int
	fmt.Sscanf(os.Getenv("T_UMASK"), "%o", &umask)
	syscall.Umask(umask)
	c := config()
	c.RunDir, c.Output = os.Getenv("T_DIR")+"/svc", os.Getenv("T_DIR")+"/log"
	p, err := c.Resolve()
	if err != nil {
		return err
	}
	return p.Prepare()
}

// TestUmaskOfTheShell does not matter.
func TestUmaskOfTheShell(t *testing.T) {
	t.Parallel()
	for _, umask := range []string{"0", "077"} {
		dir := t.TempDir()
		ask(t, helper(t, "prepare", "T_UMASK="+umask, "T_DIR="+dir))
		want := "0755"
		if os.Geteuid() != 0 {
			want = "0700"
		}
		if got := owner(t, dir+"/svc"); !strings.HasSuffix(got, " "+want) {
			t.Errorf("umask %s: the run directory is %s", umask, got)
		}
		if got := owner(t, dir+"/log"); !strings.HasSuffix(got, " 0640") {
			t.Errorf("umask %s: the log file is %s", umask, got)
		}
	}
}

// TestRunDirOfAnEarlierStart as root is given, with what is in it, to the user
// that the service has now.
func TestRunDirOfAnEarlierStart(t *testing.T) {
	t.Parallel()
	c, dir := inRoot(t)
	write(t, dir+"/run/svc/svc.lock", "", 0o600)
	write(t, dir+"/secret", "", 0o600)
	if err := os.Link(dir+"/secret", dir+"/run/svc/svc.link"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/secret", dir+"/run/svc/svc.symlink"); err != nil {
		t.Fatal(err)
	}
	prepare(t, c)
	for path, want := range map[string]string{
		"/run/svc": "54321:54321 0755", "/run/svc/svc.lock": "54321:54321 0600", "/secret": "0:0 0600", "/run/svc/svc.symlink": "0:0 0777",
	} {
		if got := owner(t, dir+path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
}

// TestRunDirOfOthers is never given away.
func TestRunDirOfOthers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		runDir  string
		arrange func(t *testing.T, dir string)
		want    string // part of the message, "" for success
	}{
		{"with files of others", "/run/svc", func(t *testing.T, dir string) { write(t, dir+"/run/svc/other", "", 0o600) }, "give it to that user"},
		{"not in /run", "/srv", func(t *testing.T, dir string) { os.Mkdir(dir+"/srv", 0o755) }, "give it to that user"},
		{"/run itself", "/run", func(t *testing.T, dir string) {}, "give it to that user"},
		{"of another user", "/run/svc", func(t *testing.T, dir string) {
			os.Mkdir(dir+"/run/svc", 0o755)
			os.Chown(dir+"/run/svc", 54322, 54322)
		}, "give it to that user"},
		{"of another group, too", "/run/svc", func(t *testing.T, dir string) {
			os.Mkdir(dir+"/run/svc", 0o755)
			os.Chown(dir+"/run/svc", 0, 54322)
			os.Chmod(dir+"/run/svc", 0o775)
		}, "give it to that user"},
		{"a symlink", "/run/svc", func(t *testing.T, dir string) {
			os.Mkdir(dir+"/srv", 0o755)
			os.Symlink("/srv", dir+"/run/svc")
		}, "a symlink is not followed"},
		{"a file", "/run/svc", func(t *testing.T, dir string) { write(t, dir+"/run/svc", "", 0o600) }, "not a directory"},
		{"everybody's", "/run/svc", func(t *testing.T, dir string) {
			os.Mkdir(dir+"/run/svc", 0o755)
			os.Chmod(dir+"/run/svc", 0o777)
		}, "chmod o-w"},
		{"everybody's, with the sticky bit", "/run/lock", func(t *testing.T, dir string) {
			os.Mkdir(dir+"/run/lock", 0o755)
			os.Chmod(dir+"/run/lock", 0o777|fs.ModeSticky)
		}, ""},
		{"of the user's group", "/run/svc", func(t *testing.T, dir string) {
			os.Mkdir(dir+"/run/svc", 0o755)
			os.Chown(dir+"/run/svc", 0, nobody)
			os.Chmod(dir+"/run/svc", 0o775)
		}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, dir := inRoot(t)
			c.RunDir = tt.runDir
			tt.arrange(t, dir)
			before := owner(t, dir+tt.runDir)
			err := resolve(t, c).Prepare()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if after := owner(t, dir+tt.runDir); after != before {
				t.Errorf("it was %s and is %s", before, after)
			}
		})
	}
}

func TestLogFiles(t *testing.T) {
	t.Parallel()
	c, dir := inRoot(t)
	c.Output, c.ErrorOutput = "/log/out", "/log/err"
	write(t, dir+"/log/err", "before\n", 0o600)
	p := prepare(t, c)
	fmt.Fprintln(p.Output, "out")
	fmt.Fprintln(p.ErrorOutput, "err")
	if got := read(t, dir+"/log/out") + read(t, dir+"/log/err"); got != "out\nbefore\nerr\n" {
		t.Errorf("got %q", got)
	}
	if got := owner(t, dir+"/log/out"); got != "54321:54321 0640" {
		t.Errorf("the new file is %s", got)
	}
	if got := owner(t, dir+"/log/err"); got != "0:0 0600" {
		t.Errorf("the old file is %s", got)
	}
}

func TestOneLogFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, errorOutput := range []string{"", dir + "/log"} {
		c := config()
		c.Output, c.ErrorOutput = dir+"/log", errorOutput
		if p := prepare(t, c); p.Output == nil || p.ErrorOutput != p.Output {
			t.Errorf("ErrorOutput %q: %v and %v", errorOutput, p.Output, p.ErrorOutput)
		}
	}
	if p := prepare(t, config()); p.Output != nil || p.ErrorOutput != nil {
		t.Errorf("without any: %v and %v", p.Output, p.ErrorOutput)
	}
}

// TestLogFileOfTheUser: root opens nothing else for a user who owns the directory.
func TestLogFileOfTheUser(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		arrange func(dir string) error
		want    error
	}{
		{"symlink", func(dir string) error { return os.Symlink("/secret", dir+"/log/svc") }, syscall.ELOOP},
		{"symlink to nothing", func(dir string) error { return os.Symlink("/new", dir+"/log/svc") }, syscall.ELOOP},
		{"hard link", func(dir string) error { return os.Link(dir+"/secret", dir+"/log/svc") }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, dir := inRoot(t)
			c.Output = "/log/svc"
			write(t, dir+"/secret", "secret", 0o600)
			if err := errors.Join(os.Chown(dir+"/log", nobody, nobody), tt.arrange(dir)); err != nil {
				t.Fatal(err)
			}
			err := resolve(t, c).Prepare()
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), "Daemon.Output") {
				t.Errorf("got %v", err)
			}
			if _, err := os.Lstat(dir + "/new"); !errors.Is(err, fs.ErrNotExist) {
				t.Error("a file was made where the symlink leads")
			}
		})
	}
}

// TestLogFileByRootsSymlink: a log may be on another volume.
func TestLogFileByRootsSymlink(t *testing.T) {
	t.Parallel()
	root(t)
	dir, err := os.MkdirTemp("/run", "daemon")
	if err != nil {
		t.Skip("needs a directory that is root's alone: ", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	write(t, dir+"/volume", "", 0o600)
	if err := os.Symlink("volume", dir+"/log"); err != nil {
		t.Fatal(err)
	}
	c := config()
	c.Output = dir + "/log"
	fmt.Fprint(prepare(t, c).Output, "text")
	if got := read(t, dir+"/volume"); got != "text" {
		t.Errorf("got %q", got)
	}
}

// TestPipeWithoutReader would block start for ever.
func TestPipeWithoutReader(t *testing.T) {
	t.Parallel()
	c := config()
	c.Output = t.TempDir() + "/pipe"
	if err := syscall.Mkfifo(c.Output, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := resolve(t, c).Prepare(); !errors.Is(err, syscall.ENXIO) {
		t.Errorf("got %v", err)
	}
}

// TestJournalIsNoFile: the daemon opens it itself.
func TestJournalIsNoFile(t *testing.T) {
	t.Parallel()
	c, dir := inRoot(t)
	if err := os.Mkdir(dir+"/dev", 0o755); err != nil {
		t.Fatal(err)
	}
	ln, err := net.ListenPacket("unixgram", dir+"/dev/log")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c.Output, c.ErrorOutput = "syslog", "/log/err"
	if p := prepare(t, c); p.Output != nil || p.ErrorOutput == nil {
		t.Errorf("got %v and %v", p.Output, p.ErrorOutput)
	}
}
