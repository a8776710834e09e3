package systemd

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// versionTimeout is how long systemctl may take to say its version; it asks nobody.
const versionTimeout = 2 * time.Second

// Version returns the version of the systemd that is installed. The name of its private
// library has it, which takes no time and works in a chroot; where there is not exactly
// one, `systemctl --version` is run.
func Version(ctx context.Context) (int, error) {
	if v, ok := libraryVersion("/"); ok {
		return v, nil
	}
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	text, err := exec.CommandContext(ctx, "systemctl", "--version").Output()
	if err != nil {
		return 0, fmt.Errorf("version of systemd: %w", err)
	}
	return parseVersion(string(text))
}

// libraryVersion finds libsystemd-shared-252.so, or -256.7-1.fc41.so. Two of them are an
// update half way, or left over.
func libraryVersion(root string) (version int, ok bool) {
	const name = "libsystemd-shared-"
	for _, dir := range []string{"lib/systemd", "lib64/systemd", "usr/lib/systemd", "usr/lib64/systemd", "usr/lib/*/systemd"} {
		paths, _ := filepath.Glob(filepath.Join(root, dir, name+"*.so"))
		for _, path := range paths {
			v, err := strconv.Atoi(leadingDigits(strings.TrimPrefix(filepath.Base(path), name)))
			if err != nil || version != 0 && version != v {
				return 0, false
			}
			version = v
		}
	}
	return version, version != 0
}

// parseVersion reads "systemd 252 (252.38-1~deb12u1)".
func parseVersion(text string) (int, error) {
	line, _, _ := strings.Cut(text, "\n")
	number, ok := strings.CutPrefix(line, "systemd ")
	v, err := strconv.Atoi(leadingDigits(number))
	if !ok || err != nil {
		return 0, errors.New("version of systemd: not understood: " + strconv.Quote(line))
	}
	return v, nil
}

func leadingDigits(s string) string {
	return s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]
}
