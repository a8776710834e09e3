package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"sync"
)

// A Builder compiles Go packages, each once. The zero value is ready to use; its
// methods may be called by several goroutines. Close removes what it made.
type Builder struct {
	// Flags are passed to go build, "-race" for example.
	Flags []string

	mu    sync.Mutex
	dir   string
	built map[string]func() (string, error)
}

// Build returns the path of the program made of a package, which is an import
// path or a directory as go build takes it.
func (b *Builder) Build(pkg string) (string, error) {
	b.mu.Lock()
	if b.built == nil {
		b.built = map[string]func() (string, error){}
	}
	build := b.built[pkg]
	if build == nil {
		n := len(b.built)
		build = sync.OnceValues(func() (string, error) { return b.build(pkg, n) })
		b.built[pkg] = build
	}
	b.mu.Unlock()
	return build()
}

// build gives each program a directory of its own: two packages may end in the
// same name.
func (b *Builder) build(pkg string, n int) (string, error) {
	dir, err := b.TempDir()
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, fmt.Sprint(n), path.Base(filepath.ToSlash(pkg)))
	args := append(append([]string{"build"}, b.Flags...), "-o", out, pkg)
	if text, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", pkg, err, text)
	}
	return out, nil
}

// TempDir returns a directory that Close removes.
func (b *Builder) TempDir() (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dir != "" {
		return b.dir, nil
	}
	var err error
	b.dir, err = os.MkdirTemp("", "harness-build-")
	return b.dir, err
}

// Close removes the programs.
func (b *Builder) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	dir := b.dir
	b.dir, b.built = "", nil
	if dir == "" {
		return nil
	}
	return os.RemoveAll(dir)
}
