package harness

import (
	"io"
	"io/fs"
	"os"
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
	if err := os.WriteFile(tmp, []byte(content), mode); err != nil {
		return err
	}
	if err := os.Chmod(tmp, mode); err != nil { // whatever the umask is
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
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
