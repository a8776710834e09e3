//go:build linux

package deployed

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gracerun/grace/test/harness"
)

// TestSystemdDocs does what docs/systemd.md says, as it stands: files are written where
// their first line says, and the commands are run. Ports are those of a network of its
// own.
func TestSystemdDocs(t *testing.T) {
	t.Parallel()
	for _, root := range systemdRoots() {
		s := bootSystemd(t, harness.SystemdConfig{Root: root, Network: true, Journal: true})
		t.Run(fmt.Sprint(s.Version), func(t *testing.T) {
			readme := blocks(t, "../../README.md")["A service"]
			for _, c := range docCases() {
				t.Run(c.section, func(t *testing.T) {
					if s.Version < c.version {
						t.Skipf("skipped: it needs systemd %d", c.version)
					}
					h := &hello{managed: &managed{s, "hello"}}
					defer h.remove(t)
					defer h.explain(t)
					h.do(t, readme)
					h.do(t, blocks(t, "../../docs/systemd.md")[c.section])
					c.check(t, h)
				})
			}
		})
	}
}

// Every section with something to do has a case.
func TestSystemdDocsAreRun(t *testing.T) {
	t.Parallel()
	left := blocks(t, "../../docs/systemd.md")
	for _, c := range docCases() {
		if len(left[c.section]) == 0 {
			t.Errorf("nothing to do in %q", c.section)
		}
		delete(left, c.section)
	}
	for section, list := range left {
		if len(list) > 0 {
			t.Errorf("%q is not run", section)
		}
	}
}

type docCase struct {
	section string
	version int
	check   func(*testing.T, *hello)
}

func docCases() []docCase {
	return []docCase{
		{"The shortest way", 0, func(t *testing.T, h *hello) { h.followed(t); h.fails(t) }},
		{"A unit of one's own", 0, func(t *testing.T, h *hello) { h.followed(t); h.fails(t) }},
		{"Restarts without a refused connection", 0, func(t *testing.T, h *hello) { h.want(t, "NFileDescriptorStore", "1"); h.followed(t) }},
		{"Sockets by address", 0, func(t *testing.T, h *hello) { h.followed(t); h.comesBack(t) }},
		{"Sockets by name", 0, func(t *testing.T, h *hello) { h.want(t, "MainPID", "0"); h.comesBack(t) }},
		{"The watchdog", 0, func(t *testing.T, h *hello) { h.want(t, "WatchdogUSec", "20s"); h.followed(t) }},
		{"Reload by a signal", 253, func(t *testing.T, h *hello) { h.want(t, "Type", "notify-reload"); h.followed(t) }},
		{"Forking", 0, func(t *testing.T, h *hello) { h.want(t, "Type", "forking"); h.followed(t) }},
		{"Another user", 0, func(t *testing.T, h *hello) { h.want(t, "DynamicUser", "yes"); h.followed(t) }},
	}
}

// hello is the service of the document.
type hello struct{ *managed }

// A block is something of the document to do.
type block struct{ kind, text string }

// blocks are those of a document by section. Those without a kind are shown only.
func blocks(t *testing.T, path string) map[string][]block {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]block{}
	for _, part := range strings.Split(string(text), "\n## ")[1:] {
		section, rest, _ := strings.Cut(part, "\n")
		for i, fenced := range strings.Split(rest, "\n```") {
			kind, text, _ := strings.Cut(fenced, "\n")
			if i%2 == 1 && kind != "" {
				found[section] = append(found[section], block{kind, text + "\n"})
			}
		}
	}
	return found
}

func (h *hello) do(t *testing.T, list []block) {
	t.Helper()
	for _, b := range list {
		switch b.kind {
		case "go":
			h.build(t, b.text)
		case "ini":
			path, _, _ := strings.Cut(strings.TrimPrefix(b.text, "# "), "\n")
			h.put(t, path, b.text)
		case "sh":
			if text, err := h.Exec(t.Context(), "sh", "-ec", b.text); err != nil {
				t.Fatalf("%s: %v: %s", b.text, err, text)
			}
		default:
			t.Errorf("what to do with a block of %s?", b.kind)
		}
	}
}

// build makes the program of its source.
func (h *hello) build(t *testing.T, source string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	program, err := builder.Build(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Install("hello", program); err != nil {
		t.Fatal(err)
	}
}

func (h *hello) put(t *testing.T, path, text string) {
	t.Helper()
	path = h.Path(path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// remove takes everything away again.
func (h *hello) remove(t *testing.T) {
	t.Helper()
	text, err := h.Exec(context.Background(), "sh", "-c", `systemctl stop hello.socket hello.service
		systemctl disable hello.socket hello.service
		rm -rf /etc/systemd/system/hello.*
		systemctl daemon-reload && systemctl reset-failed`)
	if err != nil {
		t.Errorf("%v: %s", err, text)
	}
}

// answers returns who answers at port 8080.
func (h *hello) answers(t *testing.T) (pid int) {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: h.Dial, DisableKeepAlives: true}}
	resp, err := client.Get("http://127.0.0.1:8080/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if n, _ := fmt.Sscanf(string(text), "hello from pid %d", &pid); n < 1 || err != nil {
		t.Fatalf("the answer is %q, %v", text, err)
	}
	return pid
}

// followed checks that systemd follows a reload, and that a stop is orderly.
func (h *hello) followed(t *testing.T) {
	t.Helper()
	first := h.mainPID(t)
	h.must(t, "reload")
	second := h.mainPID(t)
	if second == first {
		t.Errorf("MainPID is %d still", first)
	}
	h.until(t, func() error {
		if by := h.answers(t); by != second {
			return fmt.Errorf("%d answers, MainPID is %d", by, second)
		}
		return nil
	})
	h.must(t, "stop")
	h.want(t, "ActiveState Result", "inactive success")
	h.gone(t)
	h.must(t, "start")
	if by, pid := h.answers(t), h.mainPID(t); by != pid {
		t.Errorf("%d answers, MainPID is %d", by, pid)
	}
}

// fails checks what becomes of a build that does not start.
func (h *hello) fails(t *testing.T) {
	t.Helper()
	pid := h.mainPID(t)
	bad := filepath.Join(t.TempDir(), "bad")
	if err := harness.WriteProgram(bad, []byte("#!/bin/sh\necho out of paper >&2\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := h.Install("hello", bad); err != nil {
		t.Fatal(err)
	}
	if text, err := h.Systemctl(t.Context(), "kill", "-s", "HUP", "--kill-who=main", "hello"); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	h.until(t, func() error {
		if got := h.show(t, "StatusText"); !strings.Contains(got, "failed") {
			return fmt.Errorf("the status is %q", got)
		}
		return nil
	})
	h.want(t, "MainPID ActiveState", fmt.Sprintf("%d active", pid))
	if by := h.answers(t); by != pid {
		t.Errorf("%d answers, MainPID is %d", by, pid)
	}
}

// comesBack checks that a connection starts the service.
func (h *hello) comesBack(t *testing.T) {
	t.Helper()
	h.must(t, "stop")
	if by, pid := h.answers(t), h.mainPID(t); by != pid {
		t.Errorf("%d answers, MainPID is %d", by, pid)
	}
	h.must(t, "reload")
	h.must(t, "restart")
	if by, pid := h.answers(t), h.mainPID(t); by != pid {
		t.Errorf("%d answers, MainPID is %d", by, pid)
	}
}
