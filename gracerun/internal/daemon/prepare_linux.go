package daemon

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Prepare makes the run directory and opens the log files, and gives to the
// daemon's user what it made.
func (p *Plan) Prepare() error {
	if err := p.prepareRunDir(); err != nil {
		err = fmt.Errorf("run directory %s: %w", p.config.RunDir, err)
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w: start it as root, or name another", err)
		}
		return err
	}
	if err := p.prepareOutput(); err != nil {
		p.Close()
		return err
	}
	return nil
}

// Close closes Output and ErrorOutput, which the daemon has by then.
func (p *Plan) Close() {
	if p.Output != nil {
		p.Output.Close()
	}
	if p.ErrorOutput != nil && p.ErrorOutput != p.Output {
		p.ErrorOutput.Close()
	}
	p.Output, p.ErrorOutput = nil, nil
}

func (p *Plan) prepareRunDir() error {
	if p.config.RunDir == "" {
		return nil
	}
	dir, made, err := openRunDir(p.Outside(filepath.Clean(p.config.RunDir)))
	if err != nil {
		return err
	}
	defer dir.Close()
	return p.giveRunDir(dir, made)
}

// openRunDir opens a directory, and makes it if it is not there. It works on
// descriptors: who may change the directory above cannot put another in the place
// of the one that is looked at.
func openRunDir(path string) (dir *os.File, made bool, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, false, err
	}
	parent, err := os.OpenFile(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, false, err
	}
	defer parent.Close()
	mode := uint32(0o755)
	if os.Geteuid() != 0 {
		mode = 0o700
	}
	err = unix.Mkdirat(int(parent.Fd()), filepath.Base(path), mode)
	if err != nil && err != unix.EEXIST {
		return nil, false, err
	}
	made = err == nil
	fd, err := unix.Openat(int(parent.Fd()), filepath.Base(path), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOTDIR {
		return nil, false, fmt.Errorf("%w, and a symlink is not followed: name the directory itself", err)
	}
	if err != nil {
		return nil, false, err
	}
	dir = os.NewFile(uintptr(fd), path)
	if made {
		if err := dir.Chmod(os.FileMode(mode)); err != nil { // whatever the umask is
			dir.Close()
			return nil, false, err
		}
	}
	return dir, made, nil
}

// giveRunDir gives dir to the daemon's user, unless it is somebody else's.
func (p *Plan) giveRunDir(dir *os.File, made bool) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IWOTH != 0 && st.Mode&unix.S_ISVTX == 0 {
		return errors.New("everybody may write there: take that right away (chmod o-w), or name another")
	}
	id := p.Identity
	if id == nil || id.mayWrite(st) {
		return nil
	}
	ours, err := p.madeBefore(dir, st)
	if err != nil {
		return err
	}
	if !made && ours == nil {
		return fmt.Errorf("it is not writable for the user %d: give it to that user (chown), or name another", id.UID)
	}
	for _, name := range ours { // first: nobody else can change the directory yet
		if err := giveFile(dir, name, id); err != nil {
			return err
		}
	}
	return dir.Chown(int(id.UID), int(id.GID))
}

// madeBefore returns the files in a directory that an earlier start made, as root
// and for root. It is nil if that is not sure: /run has directories of others.
func (p *Plan) madeBefore(dir *os.File, st unix.Stat_t) ([]string, error) {
	path := filepath.Clean(p.config.RunDir)
	if st.Uid != 0 || st.Mode&0o022 != 0 || !strings.HasPrefix(path, "/run/") && !strings.HasPrefix(path, "/var/run/") {
		return nil, nil
	}
	names, err := dir.Readdirnames(-1)
	if err != nil && err != io.EOF {
		return nil, err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, p.config.Name+".") {
			return nil, nil
		}
	}
	return append([]string{}, names...), nil
}

// giveFile leaves alone what is not a file of root's with one name.
func giveFile(dir *os.File, name string, id *Identity) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "stat", Path: name, Err: err}
	}
	kind := st.Mode & unix.S_IFMT
	if st.Uid != 0 || st.Nlink != 1 || kind != unix.S_IFREG && kind != unix.S_IFSOCK {
		return nil
	}
	if err := unix.Fchownat(int(dir.Fd()), name, int(id.UID), int(id.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "chown", Path: name, Err: err}
	}
	return nil
}

func (p *Plan) prepareOutput() error {
	var err error
	if p.Output, err = p.prepareLog("Daemon.Output", p.config.Output); err != nil {
		return err
	}
	if e := p.config.ErrorOutput; e == "" || e == p.config.Output {
		p.ErrorOutput = p.Output
		return nil
	}
	p.ErrorOutput, err = p.prepareLog("Daemon.ErrorOutput", p.config.ErrorOutput)
	return err
}

func (p *Plan) prepareLog(field, path string) (*os.File, error) {
	if path == "" || socketOf(path) != "" {
		return nil, nil
	}
	f, created, err := openLog(p.Outside(filepath.Clean(path)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	if created {
		err = f.Chmod(os.FileMode(logMode &^ max(p.Umask, 0))) // the umask is the daemon's, not that of the shell
		if id := p.Identity; id != nil && err == nil {
			err = f.Chown(int(id.UID), int(id.GID))
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	return f, nil
}
