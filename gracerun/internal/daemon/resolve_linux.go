package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Resolve looks for everything that can be wrong before anything is changed. Its
// error has all the faults, each of them [ErrConfig].
func (c Config) Resolve() (*Plan, error) {
	p := &Plan{
		Program:    c.program(),
		Args:       slices.Clone(c.Args),
		Dir:        cmp.Or(c.Dir, "/"),
		Chroot:     c.Chroot,
		Umask:      c.Umask,
		NoNewPrivs: c.NoNewPrivs,
		CoreLimit:  max(c.CoreLimit, 0),
		config:     c,
	}
	if c.Umask == 0 {
		p.Umask = 0o022
	}
	if c.CoreLimit == 0 {
		p.CoreLimit = -1
	}
	id, err := Lookup("Daemon.", c.User, c.Group)
	p.Identity = id
	p.Env = c.environment(p)
	noRoot := c.checkRoot()
	err = errors.Join(c.checkValues(), c.checkCoreLimit(id), c.checkPaths(), err, noRoot)
	if noRoot == nil { // else nothing inside can be looked at
		err = errors.Join(err, c.checkProgram(), c.checkDir(), c.checkPIDFile(id),
			c.checkOutput("Daemon.Output", c.Output), c.checkOutput("Daemon.ErrorOutput", c.ErrorOutput))
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// program is the file to execute. Inside a chroot its name counts, as it will for
// an upgrade, and not where the name leads to outside.
func (c Config) program() string {
	if c.Chroot == "" {
		if path, err := os.Executable(); err == nil {
			return path
		}
	}
	if len(c.Args) == 0 {
		return ""
	}
	return c.Args[0] // no /proc
}

// environment is that of this process and what the daemon has of its own; of two
// values the last counts.
func (c Config) environment(p *Plan) []string {
	list := append(os.Environ(), "PWD="+p.Dir)
	list = append(list, p.Identity.Environ()...) // as in systemd.exec(5)
	var env []string
	at := map[string]int{}
	for _, entry := range append(list, c.Env...) {
		key, _, _ := strings.Cut(entry, "=")
		if i, ok := at[key]; ok {
			env[i] = entry
			continue
		}
		at[key] = len(env)
		env = append(env, entry)
	}
	return env
}

func (c Config) checkValues() error {
	var faults []error
	if c.Umask > 0o777 {
		faults = append(faults, &fault{fmt.Sprintf("Daemon.Umask %#o", c.Umask), errors.New("a mask has nine bits"), "write it in octal, as 0o027"})
	}
	for _, entry := range c.Env {
		key, _, ok := strings.Cut(entry, "=")
		if !ok || key == "" || strings.ContainsRune(entry, 0) {
			faults = append(faults, &fault{fmt.Sprintf("Daemon.Env %q", entry), errors.New("not of the form KEY=value"), "give each variable a name and a value"})
		}
	}
	return errors.Join(faults...)
}

// checkCoreLimit refuses what the kernel would: only a privilege raises the hard
// limit, and it is set by the daemon's user.
func (c Config) checkCoreLimit(id *Identity) error {
	var limit unix.Rlimit
	if c.CoreLimit <= 0 || unix.Getrlimit(unix.RLIMIT_CORE, &limit) != nil || uint64(c.CoreLimit) <= limit.Max {
		return nil
	}
	if (id == nil || id.UID == 0) && mayRaiseLimits() {
		return nil
	}
	return &fault{fmt.Sprintf("Daemon.CoreLimit %d", c.CoreLimit), fmt.Errorf("the hard limit is %d", limit.Max),
		"raise that in the shell (ulimit -H -c), or set a lower one"}
}

// mayRaiseLimits reports whether this process has CAP_SYS_RESOURCE (capabilities(7)).
func mayRaiseLimits() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	err := unix.Capget(&header, &data[0])
	return err == nil && data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}

var errNotAbsolute = errors.New("not an absolute path")

const beginWithSlash = "a daemon leaves the directory of the shell: begin it with /"

func (c Config) checkPaths() error {
	var faults []error
	check := func(field, path, remedy string) {
		if path != "" && !filepath.IsAbs(path) {
			faults = append(faults, &fault{fmt.Sprintf("%s %q", field, path), errNotAbsolute, remedy})
		}
	}
	check("RunDir", c.RunDir, beginWithSlash)
	check("PIDFile", c.PIDFile, beginWithSlash)
	check("Daemon.Dir", c.Dir, beginWithSlash)
	for _, out := range []struct{ field, value string }{{"Daemon.Output", c.Output}, {"Daemon.ErrorOutput", c.ErrorOutput}} {
		if out.value != Journal && out.value != Syslog {
			check(out.field, out.value, `begin it with /, or write "journal" or "syslog"`)
		}
	}
	return errors.Join(faults...)
}

// checkRoot looks at the root directory of the daemon.
func (c Config) checkRoot() error {
	what := fmt.Sprintf("Daemon.Chroot %q", c.Chroot)
	switch {
	case c.Chroot == "":
		return nil
	case os.Geteuid() != 0:
		return &fault{what, unix.EPERM, "only root can change the root directory: start it as root"}
	case !filepath.IsAbs(c.Chroot):
		return &fault{what, errNotAbsolute, beginWithSlash}
	}
	return isDirectory(what, "", c.Chroot, "prepare the directory")
}

func (c Config) checkProgram() error {
	if len(c.Args) == 0 || !filepath.IsAbs(c.Args[0]) {
		return &fault{fmt.Sprintf("program %q", c.Args), errors.New("its name is not an absolute path"), "start it by its full name"}
	}
	if c.Chroot == "" {
		return nil // it runs
	}
	what := fmt.Sprintf("Daemon.Chroot %q: program %s", c.Chroot, c.Args[0])
	const remedy = "install it there, at the same path: the daemon and its upgrades are started inside"
	st, err := statIn(c.Chroot, c.Args[0])
	switch {
	case err != nil:
		return &fault{what, err, remedy}
	case st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0:
		return &fault{what, unix.EACCES, remedy}
	}
	return nil
}

func (c Config) checkDir() error {
	if !filepath.IsAbs(c.Dir) {
		return nil
	}
	return isDirectory(fmt.Sprintf("Daemon.Dir %q", c.Dir), c.Chroot, c.Dir, "make the directory, or name another")
}

// checkPIDFile looks at a directory for the pid file that is not the run
// directory, which would be made.
func (c Config) checkPIDFile(id *Identity) error {
	dir := filepath.Dir(c.PIDFile)
	if !filepath.IsAbs(c.PIDFile) || dir == filepath.Clean(c.RunDir) {
		return nil
	}
	what := fmt.Sprintf("PIDFile %q", c.PIDFile)
	if err := isDirectory(what, c.Chroot, dir, "make the directory "+dir); err != nil {
		return err
	}
	if st, err := statIn(c.Chroot, dir); err == nil && id != nil && !id.mayWrite(st) {
		return &fault{what, fmt.Errorf("%s is not writable for the user %s: %w", dir, id.name, unix.EACCES), "leave PIDFile empty: the run directory is given to that user"}
	}
	return nil
}

// checkOutput looks for what is needed to open an output.
func (c Config) checkOutput(field, value string) error {
	what := fmt.Sprintf("%s %q", field, value)
	if path := socketOf(value); path != "" {
		st, err := statIn(c.Chroot, path)
		if err == nil && st.Mode&unix.S_IFMT != unix.S_IFSOCK {
			err = errors.New("not a socket")
		}
		if err == nil {
			return nil
		}
		remedy := "it does not run here: name a file"
		if c.Chroot != "" {
			remedy = "mount it there, or name a file"
		}
		return &fault{what, fmt.Errorf("%s: %w", path, err), remedy}
	}
	if !filepath.IsAbs(value) {
		return nil
	}
	if st, err := statIn(c.Chroot, value); err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return &fault{what, unix.EISDIR, "name a file in it"}
	}
	return isDirectory(what, c.Chroot, filepath.Dir(value), "make the directory "+filepath.Dir(value))
}

func isDirectory(what, root, path, remedy string) error {
	st, err := statIn(root, path)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		err = unix.ENOTDIR
	}
	if err != nil {
		return &fault{what, err, remedy}
	}
	return nil
}
