package handoff

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/gracerun/grace/gracerun/internal/handoff/early"
	"github.com/gracerun/grace/listener"
)

var update = flag.Bool("update", false, "write the golden files anew")

// examples has one message of each type, as this build sends it, with every
// field that the type uses.
func examples() []message {
	const nonce, moment = "N5YDQ2", 1767225600000000000
	return []message{
		{Type: typeStart, Between: true, Protocol: protocol, App: "hello", Nonce: nonce, Generation: 3, Asked: moment, Ready: 60e9, Total: 6,
			Daemon: true, History: json.RawMessage(`[{"from":1,"to":2}]`), Manager: json.RawMessage(`{"notify":"/run/systemd/notify"}`),
			Items: []item{{Kind: kindCrash}, {Kind: kindAnchor}, {Kind: kindOutput}, {Kind: kindErrorOutput}}},
		{Type: typeFiles, Items: []item{
			{Kind: kindLock},
			{Kind: kindProcess, Generation: 2, PID: 4712, Version: "v1.2.0", Since: moment},
			{Kind: kindProcess, Generation: 1, PID: 4711, Version: "v1.1.0", Since: moment},
			{Kind: kindChannel, Generation: 1},
			{Kind: kindSocket, Socket: &listener.Handle{Network: "tcp", Address: ":8080"}},
			{Kind: kindSocket, Socket: &listener.Handle{Network: "unix", Address: "/run/hello/s", Path: "/run/hello/s", Dev: 26, Ino: 1801}},
			{Kind: kindSocket, Socket: &listener.Handle{Name: "journal"}},
		}},
		{Type: typeHello, Protocol: protocol, Nonce: nonce, Generation: 3, Anchor: true, PID: 4713, Parent: 4712},
		{Type: typeStage, Stage: StageSetup},
		{Type: typeOther, App: "admin"},
		{Type: typeServing, Version: "v1.3.0"},
		{Type: typeFailed, Stage: StageListen, Error: "listen tcp :80: bind: permission denied"},
		{Type: typeGo},
		{Type: typeAbort, Error: "not serving after 1m0s"},
		{Type: typeCommitted},
		{Type: typeHurry},
		{Type: typeInHand, Work: []work{{Name: "tcp :8080", Count: 2}, {Name: "mail", Count: 1, Since: moment}},
			Due: moment, Names: []string{"tcp :8080: 2", "mail: 1"}},
		{Type: typeReopen},
		{Type: typeStop, Within: 30_000_000_000},
		{Type: typeLeaving},
		{Type: typeReleased, Name: "nightly", Due: moment},
		{Type: typeUpgrade, ID: 1, Reload: true},
		{Type: typeMain, Generation: 3},
		{Type: typeUpgraded, ID: 1, PID: 4714, Stage: StageSetup, Error: "no database"},
	}
}

// TestGolden pins what is on the wire: another build, older or newer, must
// understand it.
func TestGolden(t *testing.T) {
	t.Parallel()
	for _, m := range examples() {
		name := filepath.Join("testdata", m.Type+".json")
		frame, err := encode(m)
		if err != nil {
			t.Fatal(err)
		}
		body := frame[frameHeader:]
		if *update {
			if err := os.WriteFile(name, append(bytes.Clone(body), '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		golden, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		golden = bytes.TrimSuffix(golden, []byte("\n"))
		if !bytes.Equal(body, golden) {
			t.Errorf("%s: this build says\n%s\nand the golden file\n%s", m.Type, body, golden)
		}
		if got, err := decode(asFrame(golden)); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%s: decoded %+v, %v\nwant %+v", m.Type, got, err, m)
		}
	}
}

// asFrame frames body as docs/handoff.md says, and not as encode does.
func asFrame(body []byte) []byte {
	n := len(body)
	return append([]byte{'G', 'R', 'U', 'N', byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, body...)
}

func TestFrame(t *testing.T) {
	t.Parallel()
	got, err := encode(message{Type: typeGo})
	if want := "GRUN\x00\x00\x00\x0d" + `{"type":"go"}`; err != nil || string(got) != want {
		t.Errorf("encode = %q, %v; want %q", got, err, want)
	}
}

// TestStartPrefix: the first packet, and what it asks for, is known by its first
// bytes, before there is a decoder.
func TestStartPrefix(t *testing.T) {
	t.Parallel()
	for between, want := range map[bool]string{true: early.StartPrefix + early.AskBetween, false: early.StartPrefix + `"protocol":`} {
		m := examples()[0]
		m.Between = between
		frame, err := encode(m)
		if err != nil || !strings.HasPrefix(string(frame[frameHeader:]), want) {
			t.Errorf("it begins with %q, %v", frame, err)
		}
	}
}

// TestEveryTypeHasAnExample reads the list of types from the source: one that is
// new needs a golden file.
func TestEveryTypeHasAnExample(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("message.go")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, m := range examples() {
		known[m.Type] = true
	}
	for line := range strings.Lines(string(source)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " = \""); ok && strings.HasPrefix(name, "type") {
			value, _, _ = strings.Cut(value, `"`)
			if !known[value] {
				t.Errorf("no example of %q", value)
			}
			delete(known, value)
		}
	}
	if len(known) > 0 {
		t.Errorf("examples of unknown types: %v", known)
	}
}

// TestNewerBuild: what a newer build says in addition is passed over.
func TestNewerBuild(t *testing.T) {
	t.Parallel()
	body, err := os.ReadFile(filepath.Join("testdata", "newer", "files.json"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode(asFrame(body))
	want := message{Type: typeFiles, Items: []item{
		{Kind: "ticket_keys"},
		{Kind: kindSocket, Socket: &listener.Handle{Network: "tcp", Address: ":8080"}},
	}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("decoded %+v, %v\nwant %+v", got, err, want)
	}
	if got, err := decode(asFrame([]byte(`{"type":"mood","mood":"good"}`))); err != nil || got.Type != "mood" {
		t.Errorf("a type of a newer build: %+v, %v", got, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	good := string(asFrame([]byte(`{"type":"go"}`)))
	for name, frame := range map[string]string{
		"nothing":        "",
		"half a header":  good[:frameHeader-1],
		"another magic":  "HTTP" + good[4:],
		"cut":            good[:len(good)-1],
		"too much":       good + " ",
		"no body":        "GRUN\x00\x00\x00\x00",
		"no JSON":        string(asFrame([]byte("go"))),
		"no object":      string(asFrame([]byte(`["go"]`))),
		"no type":        string(asFrame([]byte(`{"pid":1}`))),
		"a type of type": string(asFrame([]byte(`{"type":7}`))),
		"two objects":    string(asFrame([]byte(`{"type":"go"}{}`))),
	} {
		if m, err := decode([]byte(frame)); err == nil {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

func TestEncodeLimits(t *testing.T) {
	t.Parallel()
	frame, err := encode(message{Type: typeFailed, Error: strings.Repeat("\x00", 10*maxText)}) // the longest in JSON
	if err != nil {
		t.Fatal(err)
	}
	if m, err := decode(frame); err != nil || len(m.Error) > maxText+4 || len(m.Error) < maxText {
		t.Errorf("a long error: %d bytes, %v", len(m.Error), err)
	}
	if _, err := encode(message{Type: typeInHand, Names: []string{strings.Repeat("x", maxFrame)}}); err == nil {
		t.Error("a frame over the limit was encoded")
	}
}

// FuzzDecode: whatever decodes can be said again.
func FuzzDecode(f *testing.F) {
	for _, m := range examples() {
		frame, err := encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		m, err := decode(frame)
		if err != nil {
			return
		}
		if m.Type == "" {
			t.Error("a message without a type")
		}
		again, err := encode(m)
		if err != nil { // JSON may be longer the second time
			if len(frame) < maxFrame/6 {
				t.Errorf("%d bytes became too long: %v", len(frame), err)
			}
			return
		}
		if back, err := decode(again); err != nil || len(m.Error) <= maxText && !same(back, m) {
			t.Errorf("%+v\nbecame %+v, %v", m, back, err)
		}
	})
}

// same compares as JSON, which makes no difference between nil and empty.
func same(a, b message) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
