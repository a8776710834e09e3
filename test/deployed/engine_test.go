//go:build linux

package deployed

import (
	"fmt"
	"os"
	"strings"
)

// An engine runs containers for a deployment: podman, under the name of docker, with
// everything that it writes in the deployment's directory. The containers have the
// network of the machine, and no limits: an engine needs privileges for those which a
// sandbox may not have, and no test needs them.
//
// Each command gets a mount namespace where /sys/fs/cgroup is version 2, which crun
// insists on.
const dockerScript = `#!/bin/sh
export CONTAINERS_CONF=DIR/containers.conf
exec unshare -m sh -c 'umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup &&
	exec podman --runtime RUNTIME --root DIR/pods --runroot DIR/pods.run --tmpdir DIR/pods.tmp --network-config-dir DIR/pods.net \
		--storage-driver vfs --cgroup-manager cgroupfs "$@"' sh "$@"
`

const containersConf = `[containers]
netns = "host"
[engine]
events_logger = "file"
lock_type = "file"
`

// engine puts docker into the deployment, and an image of version v1.
func (d *deployment) engine() {
	d.Helper()
	if os.Getuid() != 0 {
		d.Skip("only root can run containers here")
	}
	needs(d.t(), "podman", "crun", "conmon", "catatonit", "unshare")
	d.write("docker", strings.NewReplacer("DIR", d.dir, "RUNTIME", build(d, "test/deployed/testdata/runtime")).Replace(dockerScript), 0o755)
	d.write("containers.conf", containersConf, 0o644)
	d.Cleanup(func() {
		for _, kind := range []string{"pod", "container"} {
			if text, code := d.run("docker", kind, "rm", "-af", "-t", "0"); code != 0 {
				d.Errorf("docker %s rm: exit status %d: %s", kind, code, text)
			}
		}
		removeCgroups(d)
	})
	if text, code := d.run("docker", "info", "-f", "{{.Version.Version}}"); code != 0 {
		d.Skipf("podman does not run here: %s", text)
	}
	d.write("Dockerfile", d.block(d.t(), "Dockerfile", ":8080", d.addr), 0o644)
	d.must("docker", "build", "--isolation", "chroot", "-q", "-t", "hello", ".")
	if text, code := d.run("docker", "run", "--rm", "hello", "version"); code != 0 {
		d.Skipf("no container runs here: %s", text)
	}
}

// removeCgroups removes those that podman makes for pods, and leaves.
func removeCgroups(d *deployment) {
	const script = `mount -t cgroup2 cgroup2 /mnt && find /mnt/libpod_parent -depth -type d -exec rmdir {} +`
	d.command("unshare", "-m", "sh", "-c", script).Run()
}

// lines are the commands of a script of the document.
func (d *deployment) lines(name string, oldnew ...string) []string {
	d.Helper()
	return strings.Split(strings.TrimSpace(d.block(d.t(), name, oldnew...)), "\n")[1:]
}

// sh runs a line, or a script.
func (d *deployment) sh(line string) string {
	d.Helper()
	return d.must("sh", "-c", line)
}

// A container is what the machine sees of one.
type container struct {
	id, status, started string
	pid, exit           int
}

// inspect asks the engine.
func (d *deployment) inspect(name string) (c container) {
	d.Helper()
	text := d.must("docker", "inspect", "-f", "{{.Id}} {{.State.Status}} {{.State.Pid}} {{.State.ExitCode}} {{.State.StartedAt}}", name)
	if _, err := fmt.Sscan(text, &c.id, &c.status, &c.pid, &c.exit, &c.started); err != nil {
		d.Fatalf("docker inspect: %v: %s", err, text)
	}
	return c
}

// inside are the processes below a container's first one, as the machine sees them.
func (d *deployment) inside(c container) []process {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", c.pid, c.pid))
	var list []process
	for pid := range strings.FieldsSeq(string(text)) {
		var n int
		fmt.Sscan(pid, &n)
		if p, err := readProcess(n); err == nil {
			list = append(list, p)
		}
	}
	return list
}
