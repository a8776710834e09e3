package listener

import (
	"io/fs"
	"os"
	"slices"
	"syscall"
)

// Add puts a descriptor of the caller's under a name into the Set, which keeps
// a duplicate; c remains the caller's. It takes the place of an inherited
// descriptor of that name that nobody has asked for. A name in use already is
// an error, a [*fs.PathError] that wraps [fs.ErrExist]; so is the empty name, with
// [fs.ErrInvalid], and a closed Set, with [fs.ErrClosed]. On Windows the error wraps
// [errors.ErrUnsupported].
//
// The duplicate shares its file offset, locks and blocking mode with c.
func (s *Set) Add(name string, c syscall.Conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case name == "":
		return &fs.PathError{Op: "add", Path: name, Err: fs.ErrInvalid}
	case s.closed:
		return &fs.PathError{Op: "add", Path: name, Err: fs.ErrClosed}
	case slices.ContainsFunc(s.entries, func(e *entry) bool { return e.name() == name }):
		return &fs.PathError{Op: "add", Path: name, Err: fs.ErrExist}
	}
	f, err := dup(name, c)
	if err != nil {
		return err
	}
	s.entries = append(s.entries, &entry{Handle: Handle{Name: name}, conn: f})
	return nil
}

// File returns a duplicate of the descriptor that was added, or inherited, under
// the name. The caller closes it; the Set's own stays and is handed on to the
// next successor. If there is none the error is a [*fs.PathError] that wraps
// [fs.ErrNotExist].
func (s *Set) File(name string) (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	named := func(e *entry) bool { return e.Name == name && name != "" }
	if i := slices.IndexFunc(s.entries, named); i >= 0 {
		return dup(name, s.entries[i].conn)
	}
	i := slices.IndexFunc(s.inherited, named)
	if i < 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	f, err := dup(name, s.inherited[i].conn)
	if err != nil {
		return nil, err
	}
	s.entries = append(s.entries, s.inherited[i])
	s.inherited = slices.Delete(s.inherited, i, i+1)
	return f, nil
}
