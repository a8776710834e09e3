package verbs

import (
	"cmp"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// systemctl has systemd do something. Its words are the error's.
func (c *call) systemctl(ctx context.Context, args ...string) error {
	said, err := tell(ctx, "systemctl", append([]string{"--no-pager", "--no-ask-password"}, args...)...)
	switch {
	case err == nil:
		return nil
	case context.Cause(ctx) != nil:
		return fmt.Errorf("systemctl %s: %w; systemd goes on with it", strings.Join(args, " "), context.Cause(ctx))
	}
	return fmt.Errorf("systemctl %s: %w\n%s", strings.Join(args, " "), err, cmp.Or(said, "it says nothing more; see: journalctl -b"))
}

// tell runs a program of systemd, and returns what it said.
func tell(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = time.Second
	text, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(text)), err
}
