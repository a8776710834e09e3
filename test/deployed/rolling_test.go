//go:build linux

package deployed

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/gracerun/grace/test/harness"
)

// TestRollingDeploy plays the playbook over three machines, which are directories here:
// it goes through all of them, and stops at the first that refuses a build.
func TestRollingDeploy(t *testing.T) {
	t.Parallel()
	needs(t, "ansible-playbook")
	d := deploy(t)
	var machines []*deployment
	inventory := []string{"/srv/hello", d.path("{{ inventory_hostname }}")}
	for i := range 3 {
		m := *d
		m.dir, m.addr = d.path(fmt.Sprintf("web%d", i+1)), harness.FreeAddress(t)
		d.check(os.Mkdir(m.dir, 0o755))
		m.install("v1")
		m.must("hello", "-addr", m.addr, "-rundir", m.path("run"), "start")
		machines = append(machines, &m)
		inventory = append(inventory, fmt.Sprintf("web%d.example.com", i+1),
			fmt.Sprintf("web%d ansible_connection=local flags='-rundir %s'", i+1, m.path("run")))
	}
	d.write("hosts.ini", d.block(t, "hosts.ini", inventory...), 0o644)
	d.write("deploy.yml", d.block(t, "deploy.yml"), 0o644)
	play := func(version string) (string, int) {
		d.install(version)
		return d.run("env", "ANSIBLE_PIPELINING=1", "ANSIBLE_HOME="+d.path("ansible"), "ANSIBLE_REMOTE_TMP="+d.path("ansible"), "ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3",
			"ansible-playbook", "-i", "hosts.ini", "deploy.yml")
	}

	machines[0].under(func() {
		if text, code := play("v2"); code != 0 {
			t.Fatalf("exit status %d: %s", code, text)
		}
	})
	var before []answer
	for _, m := range machines {
		before = append(before, m.serves("v2"))
	}
	text, code := play("broken")
	if code == 0 || !strings.Contains(text, "does not come up on web1") || strings.Contains(text, "on web2") {
		t.Errorf("a broken build: exit status %d: %s", code, text)
	}
	want, err := os.ReadFile(d.program("v2"))
	d.check(err)
	for i, m := range machines {
		if now := m.serves("v2"); now != before[i] {
			t.Errorf("machine %d has %+v, and had %+v", i+1, now, before[i])
		}
		if got, err := os.ReadFile(m.path("hello")); !bytes.Equal(got, want) {
			t.Errorf("machine %d has another program, %v", i+1, err)
		}
		m.must("hello", "-rundir", m.path("run"), "stop")
	}
}
