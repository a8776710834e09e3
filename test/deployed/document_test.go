//go:build linux

package deployed

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A document has set-ups to copy, each in a block whose first line, a comment,
// names its file. The tests run them as they are written there.
type document map[string]string

// readDocument returns the blocks of docs/NAME by the names of their files. Those of an
// unnamed one are not to be copied.
func readDocument(t *testing.T, name string) document {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	d := document{}
	parts := strings.Split(string(text), "\n```")
	for i := 1; i < len(parts); i += 2 {
		_, block, _ := strings.Cut(parts[i], "\n") // the language
		if name := fileOf(block); name != "" {
			if d[name] != "" {
				t.Fatalf("two blocks are called %s", name)
			}
			d[name] = block + "\n"
		}
	}
	return d
}

// fileOf is the file that the first line names, after a #! if there is one.
func fileOf(block string) string {
	lines := strings.SplitN(block, "\n", 3)
	if strings.HasPrefix(lines[0], "#!") && len(lines) > 1 {
		lines = lines[1:]
	}
	words := strings.Fields(lines[0])
	if len(words) == 2 && slices.Contains([]string{"#", ";", "//"}, words[0]) {
		return words[1]
	}
	return ""
}

// block returns the named block with some of its words replaced: each has to be in it.
func (d document) block(t *testing.T, name string, oldnew ...string) string {
	t.Helper()
	text, ok := d[name]
	if !ok {
		t.Fatalf("no block is called %s", name)
	}
	for i := 0; i < len(oldnew); i += 2 {
		if !strings.Contains(text, oldnew[i]) {
			t.Fatalf("%s does not say %q:\n%s", name, oldnew[i], text)
		}
		text = strings.ReplaceAll(text, oldnew[i], oldnew[i+1])
	}
	return text
}

// TestContainerSetUpsAreRun lists the blocks of docs/containers.md with the tests that
// run them: a new one needs one.
func TestContainerSetUpsAreRun(t *testing.T) {
	t.Parallel()
	run := map[string]string{
		"main.go": "all", "Dockerfile": "TestContainer", "build.sh": "TestContainer", "stop.sh": "TestContainer",
		"in-place.sh": "TestContainerInPlace", "read-only.sh": "TestContainerReadOnly",
		"deployment.yaml": "TestKubernetesStop, manifests.TestStrict", "daemonset.yaml": "TestKubernetesInPlace, manifests.TestStrict",
		"agents.sh": "TestKubernetesInPlace", "hello.conf": "TestSupervisors, TestSupervisordKills", "run": "TestSupervisors", "check": "TestSupervisors",
		"log": "TestSupervisors", "Procfile": "TestForeman", "deploy.yml": "TestRollingDeploy", "hosts.ini": "TestRollingDeploy",
		"hello.nomad.hcl": "none: Nomad is in no package of Debian's",
	}
	d := readDocument(t, "containers.md")
	for name := range d {
		if run[name] == "" {
			t.Errorf("no test runs %s", name)
		}
	}
	for name := range run {
		if d[name] == "" {
			t.Errorf("%s is not in the document", name)
		}
	}
}
