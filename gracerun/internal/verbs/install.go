package verbs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gracerun/grace/gracerun/internal/systemd"
)

// unitDir is where an administrator's units are (systemd.unit(5)).
const unitDir = "/etc/systemd/system"

// A unitFile is one that install writes, or has written.
type unitFile struct {
	unit, path string
	text       string // "" = to be removed
}

// install writes the units, and has systemd know them. A second time it changes nothing.
func install(c *call, ctx context.Context, _ []string) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	if err := c.checkUnit(); err != nil {
		return err
	}
	dir, err := c.unitDir()
	if err != nil {
		return err
	}
	files, err := c.units(ctx, dir)
	if err != nil {
		return err
	}
	if c.live() {
		if err := c.mayStart(ctx); err != nil {
			return err
		}
		if err := c.verify(ctx, files); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := c.put(f); err != nil {
			return err
		}
	}
	if c.live() {
		return c.enable(ctx, files)
	}
	return nil
}

// live reports whether the units are for the systemd that runs here.
func (c *call) live() bool { return c.options.unit.dir == "" }

// unitDir returns where the units are to be, if that can be done.
func (c *call) unitDir() (string, error) {
	switch {
	case !c.live():
		return string(c.options.unit.dir), nil
	case !systemd.Booted():
		return "", &exit{exitNoProgram, fmt.Errorf("systemd does not run here; %s unit prints the unit, and --dir is for another system", c.Name)}
	case os.Geteuid() != 0:
		return "", &exit{exitPermission, fmt.Errorf("only root may change %s: use sudo", unitDir)}
	}
	return unitDir, nil
}

// units are the files as they are to be, all of which may be written.
func (c *call) units(ctx context.Context, dir string) ([]unitFile, error) {
	p, err := c.params(ctx)
	if err != nil {
		return nil, err
	}
	files := []unitFile{c.file(dir, ".service", systemd.Unit(p))}
	socket := c.file(dir, ".socket", "")
	if p.Activated {
		text, err := c.socketUnit(p)
		if err != nil {
			return nil, err
		}
		files = append(files, c.file(dir, ".socket", text))
	} else if text, err := os.ReadFile(socket.path); err == nil && c.wrote(text) {
		return nil, fmt.Errorf("%s is there since an install --activated: use that, or uninstall first", socket.path)
	}
	for _, f := range files {
		if err := c.mayChange(f); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// file is a unit with a first line that tells whether the rest is as it was written.
func (c *call) file(dir, suffix, text string) unitFile {
	f := unitFile{unit: c.Name + suffix, path: filepath.Join(dir, c.Name+suffix)}
	if text != "" {
		f.text = fmt.Sprintf("%s To change it: systemctl edit %s\n%s", c.signature(text), f.unit, text)
	}
	return f
}

func (c *call) writer() string { return "# Written by " + c.Name + " install " }

func (c *call) signature(text string) string {
	sum := sha256.Sum256([]byte(text))
	return fmt.Sprintf("%s(%x).", c.writer(), sum[:8])
}

// mayChange refuses to touch what somebody has written.
func (c *call) mayChange(f unitFile) error {
	text, err := os.ReadFile(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case c.wrote(text) || c.options.unit.force:
		return nil
	case strings.HasPrefix(string(text), c.writer()):
		return fmt.Errorf("%s was changed since it was written: move the changes to a drop-in (systemctl edit %s), then use --force", f.path, f.unit)
	}
	return fmt.Errorf("%s was not written by %s install: remove it, or use --force", f.path, c.Name)
}

// wrote reports whether text is a unit as install has written it.
func (c *call) wrote(text []byte) bool {
	head, body, _ := strings.Cut(string(text), "\n")
	return strings.HasPrefix(head, c.signature(body))
}

// put writes a unit, whole or not at all.
func (c *call) put(f unitFile) error {
	if text, err := os.ReadFile(f.path); err == nil && string(text) == f.text {
		c.say("%s is as it should be", f.path)
		return nil
	}
	temp, err := os.CreateTemp(filepath.Dir(f.path), ".install-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.WriteString(f.text)
	if err := errors.Join(err, temp.Chmod(0o644), temp.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), f.path); err != nil {
		return err
	}
	c.say("wrote %s", f.path)
	return nil
}

// verify has systemd look at the units where they do no harm.
func (c *call) verify(ctx context.Context, files []unitFile) error {
	dir, err := os.MkdirTemp("", "units-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	args := []string{"verify"}
	for _, f := range files {
		path := filepath.Join(dir, f.unit)
		if err := os.WriteFile(path, []byte(f.text), 0o644); err != nil {
			return err
		}
		args = append(args, path)
	}
	said, err := tell(ctx, "systemd-analyze", args...)
	if noProgram(err) {
		return nil // it is a package of its own in some distributions
	}
	for _, line := range slices.Compact(strings.Split(said, "\n")) { // it says some twice
		if strings.Contains(line, dir) || strings.Contains(line, c.Name+".") { // the others are of the machine's units
			c.note("%s", line)
		}
	}
	if err != nil && !c.options.unit.force {
		return fmt.Errorf("systemd would not take the unit, so that nothing was written: %w; see the lines above, or use --force", cmp.Or(context.Cause(ctx), err))
	}
	return nil
}

// mayStart refuses --now where the service runs without systemd: it would be locked out.
func (c *call) mayStart(ctx context.Context) error {
	k := c.probe(ctx)
	if !c.options.unit.now || !k.running() {
		return nil
	}
	unit := c.Name + ".service"
	if _, err := tell(ctx, "systemctl", "is-active", "--quiet", unit); err != nil {
		return fmt.Errorf("it runs already (%s), and not as %s: end it first with %s stop", k.who(), unit, c.Name)
	}
	return nil
}

// enable has systemd start the units with the system and, with --now, at once.
func (c *call) enable(ctx context.Context, files []unitFile) error {
	units, ran := unitsOf(files), c.probe(ctx).running()
	if err := c.systemctl(ctx, "daemon-reload"); err != nil {
		return err
	}
	if err := c.systemctl(ctx, append([]string{"enable"}, units...)...); err != nil {
		return err
	}
	c.say("enabled: it starts with the system")
	if c.options.unit.now {
		if err := c.startUnits(ctx, units); err != nil {
			return err
		}
	}
	c.known = c.probe(ctx)
	switch {
	case !c.known.running():
		c.say("to start it now: systemctl start %s", units[len(units)-1]) // the socket, if there is one
	case ran:
		c.say("it runs (%s); to have it run by the unit as it is now: systemctl restart %s", c.known.who(), units[0])
	default:
		c.say("%s runs (%s)", units[0], c.known.who())
	}
	return nil
}

// startUnits waits until the service is ready, or has failed.
func (c *call) startUnits(ctx context.Context, units []string) error {
	c.progress.line("waiting for " + units[0])
	err := c.systemctl(ctx, append([]string{"start"}, units...)...)
	if err == nil {
		return nil
	}
	if words := c.lastStatus(ctx, units[0]); words != "" {
		err = fmt.Errorf("%w\nits last status: %s", err, words)
	}
	return err
}

// lastStatus is what a service said that has failed. systemd tries again a moment later,
// and forgets it: then the next attempt is waited for.
func (c *call) lastStatus(ctx context.Context, unit string) string {
	for limit := time.Now().Add(answerTimeout); time.Now().Before(limit) && ctx.Err() == nil; wait(ctx, tick) {
		said, err := tell(ctx, "systemctl", "show", "--property=SubState,StatusText", unit)
		if err != nil {
			return ""
		}
		_, words, _ := strings.Cut(said, "StatusText=")
		words, _, _ = strings.Cut(words, "\n")
		if words != "" && (strings.Contains(said, "SubState=auto-restart") || strings.Contains(said, "SubState=failed")) {
			return words
		}
		if strings.Contains(said, "SubState=failed") {
			return ""
		}
	}
	return ""
}

// uninstall ends the service, and removes what install wrote.
func uninstall(c *call, ctx context.Context, _ []string) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	dir, err := c.unitDir()
	if err != nil {
		return err
	}
	files, err := c.installed(dir)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		c.say("not installed in %s", dir)
		return nil
	}
	if c.live() {
		c.progress.line("waiting for " + c.Name + ".service to end")
		if err := c.systemctl(ctx, append([]string{"disable", "--now"}, unitsOf(files)...)...); err != nil {
			return err
		}
		c.say("stopped, and starts with the system no more")
	}
	for _, f := range files {
		if err := os.Remove(f.path); err != nil {
			return err
		}
		c.say("removed %s", f.path)
	}
	if c.live() {
		return c.systemctl(ctx, "daemon-reload")
	}
	return nil
}

// installed are the units that are there, all of which may be removed.
func (c *call) installed(dir string) ([]unitFile, error) {
	var files []unitFile
	for _, suffix := range []string{".socket", ".service"} {
		f := c.file(dir, suffix, "")
		if missing(f.path) {
			continue
		}
		if err := c.mayChange(f); err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

func unitsOf(files []unitFile) []string {
	var units []string
	for _, f := range files {
		units = append(units, f.unit)
	}
	return units
}
