package control_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A browser is a headless Chromium with one page, steered over a pair of pipes
// (its DevTools protocol): what a person sees can be asked for, and waited for.
type browser struct {
	t       *testing.T
	in      *os.File
	out     *bufio.Reader
	session string
	last    int
}

// message is any of the protocol's.
type message struct {
	ID        int             `json:"id,omitempty"`
	Session   string          `json:"sessionId,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    any             `json:"params,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Exception *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// browse opens a page of the given size. The browser ends with the test.
func browse(t *testing.T, url string, width, height int, dark bool) *browser {
	t.Helper()
	b := launch(t)
	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}, nil)
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
	b.call("Page.enable", nil, nil)
	b.call("Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": `
		window.faults = [];
		addEventListener("error", e => faults.push(String(e.message)));
		addEventListener("unhandledrejection", e => faults.push(String(e.reason)));
		addEventListener("securitypolicyviolation", e => faults.push(e.violatedDirective + " " + e.blockedURI));
	`}, nil)
	b.call("Page.navigate", map[string]any{"url": url}, nil)
	b.until(`document.readyState === "complete"`)
	return b
}

// launch starts the browser in a process group of its own.
func launch(t *testing.T) *browser {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("the page is looked at with chromium, which is not installed")
	}
	hisIn, ourOut, err := os.Pipe()
	check(t, err)
	ourIn, hisOut, err := os.Pipe()
	check(t, err)
	home, err := os.MkdirTemp("/dev/shm", "chromium") // it waits for a disk again and again
	if err != nil {
		home = t.TempDir()
	}
	cmd := exec.Command(program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-extensions", "--no-proxy-server", "--lang=en-GB",
		"--user-data-dir="+filepath.Join(home, "profile"), "--remote-debugging-pipe")
	cmd.Env = append(os.Environ(), "HOME="+home, "TZ=UTC", "TMPDIR="+home)
	cmd.ExtraFiles = []*os.File{hisIn, hisOut} // 3 and 4
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	check(t, cmd.Start())
	hisIn.Close()
	hisOut.Close()
	t.Cleanup(func() {
		ourOut.Close()
		ourIn.Close()
		end(cmd)
		os.RemoveAll(home)
	})
	check(t, ourIn.SetDeadline(time.Now().Add(2*time.Minute)))
	return &browser{t: t, in: ourOut, out: bufio.NewReader(ourIn)}
}

// end waits for the browser, which ends with its pipes and ends its children;
// those that are left are killed before their directory is removed.
func end(cmd *exec.Cmd) {
	hurry := time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
	cmd.Wait()
	hurry.Stop()
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
}

// call waits for the answer to one command.
func (b *browser) call(method string, params, result any) {
	b.t.Helper()
	b.last++
	text, err := json.Marshal(message{ID: b.last, Session: b.session, Method: method, Params: params})
	check(b.t, err)
	_, err = b.in.Write(append(text, 0))
	check(b.t, err)
	for {
		text, err := b.out.ReadBytes(0)
		if err != nil {
			b.t.Fatalf("%s: the browser is gone: %v", method, err)
		}
		var m message
		check(b.t, json.Unmarshal(text[:len(text)-1], &m))
		if m.ID != b.last {
			continue // an event
		}
		if m.Exception != nil {
			b.t.Fatalf("%s: %s", method, m.Exception.Message)
		}
		if result != nil {
			check(b.t, json.Unmarshal(m.Result, result))
		}
		return
	}
}

// eval returns the value of an expression in the page.
func (b *browser) eval(expression string) any {
	b.t.Helper()
	var r struct {
		Result           struct{ Value any }
		ExceptionDetails json.RawMessage
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &r)
	if r.ExceptionDetails != nil {
		b.t.Fatalf("%s: %s", expression, r.ExceptionDetails)
	}
	return r.Result.Value
}

// text is what the first element has that a selector finds.
func (b *browser) text(selector string) string {
	b.t.Helper()
	return fmt.Sprint(b.eval(fmt.Sprintf("document.querySelector(%q)?.textContent", selector)))
}

// until waits for a condition in the page.
func (b *browser) until(condition string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	for b.eval(condition) != true {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			b.t.Fatalf("never: %s; its faults: %q; the page says:\n%s", condition, b.eval("faults.join()"), b.eval("document.body.innerText"))
		}
	}
}

// shows waits for a text in an element.
func (b *browser) shows(selector, want string) {
	b.t.Helper()
	b.until(fmt.Sprintf("(document.querySelector(%q)?.textContent || '').includes(%q)", selector, want))
}

// places are where the parts of the page are.
func (b *browser) places() string {
	b.t.Helper()
	return fmt.Sprint(b.eval(`[...document.querySelectorAll("h1, h2, dt, section, th, footer *")].filter(el => el.textContent).map(el => {
		const at = el.getBoundingClientRect();
		return el.tagName + " " + [at.x, at.y].map(Math.round);
	}).join("; ")`))
}

// faultless fails the test for errors of the page.
func (b *browser) faultless() {
	b.t.Helper()
	if faults := fmt.Sprint(b.eval(`faults.join("\n")`)); faults != "" {
		b.t.Errorf("faults in the page:\n%s", faults)
	}
	if wide := b.eval("document.documentElement.scrollWidth > innerWidth"); wide != false {
		b.t.Errorf("the page is wider than the window")
	}
}

// picture keeps what can be seen among the test's artifacts.
func (b *browser) picture(name string) {
	b.t.Helper()
	var shot struct{ Data string }
	b.call("Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	check(b.t, errors.Join(err, os.WriteFile(filepath.Join(b.t.ArtifactDir(), name+".png"), png, 0o644)))
}
