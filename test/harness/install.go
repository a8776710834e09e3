package harness

import (
	"io/fs"
	"os"
	"syscall"
)

// Install puts a copy of the program at binary in the place of the service's, as
// a deployment does: by a rename, so that whoever looks finds the old one or the
// new one. The next upgrade starts it.
func (s *Service) Install(binary string) error {
	tmp := s.Path + ".new"
	if err := copyFile(binary, tmp); err != nil {
		return err
	}
	return os.Rename(tmp, s.Path)
}

// InstallText puts a file with this content and mode there: a script, or
// something that is no program at all.
func (s *Service) InstallText(content string, mode fs.FileMode) error {
	tmp := s.Path + ".new"
	if err := WriteProgram(tmp, []byte(content), mode); err != nil {
		return err
	}
	return os.Rename(tmp, s.Path)
}

// Uninstall removes the program. The service goes on.
func (s *Service) Uninstall() error { return os.Remove(s.Path) }

// link makes a second name for a file, or a copy where that cannot be.
func link(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	return copyFile(from, to)
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return WriteProgram(to, content, 0o755)
}

// WriteProgram writes a file that can be executed from then on. This process starts none
// meanwhile: a child has the file open for writing until it executes its own program, and
// the kernel executes no file that is open for writing (golang/go#22315).
func WriteProgram(path string, content []byte, mode fs.FileMode) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, content, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode) // whatever the umask is
}
