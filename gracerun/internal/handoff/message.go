package handoff

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/gracerun/grace/gracerun/internal/handoff/early"
	"github.com/gracerun/grace/listener"
)

// protocol is the version of the messages. It changes only when an older build
// could misunderstand a newer one: a new field or a new type is ignored by who
// does not know it, and needs no new version.
const protocol = 1

// Types of messages. The comment says who sends it to whom.
const (
	typeStart     = "start"     // old to new, queued first: the marker, and what the new one is
	typeFiles     = "files"     // old to new, queued: descriptors
	typeHello     = "hello"     // new to old: the process is alive
	typeStage     = "stage"     // new to old: what the start is busy with
	typeOther     = "other"     // new to old: an App of another name runs in it, and so far none of yours
	typeServing   = "serving"   // new to old: the accept loops run, Check passed
	typeFailed    = "failed"    // new to old: the start failed, this is why
	typeGo        = "go"        // old to new: commit
	typeAbort     = "abort"     // old to new: finish what you have and exit
	typeCommitted = "committed" // new to old: this generation owns the service
	typeHurry     = "hurry"     // newest to older: somebody waits for you; say what you have in hand
	typeInHand    = "in_hand"   // older to newest: what it still has in hand
	typeReopen    = "reopen"    // newest to older: open the log files again
	typeStop      = "stop"      // newest to older, or to a successor too late to give up: the service stops
	typeLeaving   = "leaving"   // newer to older: it exits because it is done
	typeReleased  = "released"  // older to its successor, which passes it on: an exclusive task is free
	typeUpgrade   = "upgrade"   // older to its successor, which passes it on: an upgrade was asked of me; it is yours
	typeUpgraded  = "upgraded"  // back to who passed it on: the result of that upgrade
	typeMain      = "main"      // older to its successor: the service manager follows you now
)

// A message is one JSON object. Fields that a type does not use are absent.
type message struct {
	Type string `json:"type"`

	Between bool `json:"between,omitempty"` // start: a process is to stand between the two; early.AskBetween

	Protocol   int    `json:"protocol,omitempty"`   // start, hello
	App        string `json:"app,omitempty"`        // start: the App's name; other: that other name
	Nonce      string `json:"nonce,omitempty"`      // start, hello: names this attempt
	Generation int    `json:"generation,omitempty"` // start, hello: of the new process; main: of who is followed
	Asked      int64  `json:"asked,omitempty"`      // start: when the upgrade was asked for, Unix nanoseconds
	Ready      int64  `json:"ready,omitempty"`      // start: how long the new process may take to serve, nanoseconds
	Total      int    `json:"total,omitempty"`      // start: items in the files messages that follow
	Daemon     bool   `json:"daemon,omitempty"`     // start: the service is a daemon
	Dir        string `json:"dir,omitempty"`        // start: what the App's relative paths begin at
	RunDir     string `json:"run_dir,omitempty"`    // start: the run directory, where the App does not say which

	History json.RawMessage `json:"history,omitempty"` // start: the App's
	Manager json.RawMessage `json:"manager,omitempty"` // start: the App's, and never left out

	Items []item `json:"items,omitempty"` // start, files: one for each descriptor of the packet

	Anchor bool `json:"anchor,omitempty"` // hello: it has got the line to the process that keeps the pid

	PID     int    `json:"pid,omitempty"`     // hello, upgraded
	Parent  int    `json:"parent,omitempty"`  // hello: the parent's pid, where a process was to stand between
	Version string `json:"version,omitempty"` // serving
	Stage   string `json:"stage,omitempty"`   // stage, failed, upgraded
	Error   string `json:"error,omitempty"`   // failed, upgraded; abort: the reason

	Name   string   `json:"name,omitempty"`   // released: the task
	Due    int64    `json:"due,omitempty"`    // released: the next run; in_hand: the deadline; Unix nanoseconds
	Within int64    `json:"within,omitempty"` // stop: nanoseconds
	ID     uint64   `json:"id,omitempty"`     // upgrade, upgraded
	Reload bool     `json:"reload,omitempty"` // upgrade: rereading the configuration will do
	Work   []work   `json:"work,omitempty"`   // in_hand
	Names  []string `json:"names,omitempty"`  // in_hand: the same, for people, and for builds that know no more
}

// work is [Work] on its way.
type work struct {
	Name  string `json:"name"`
	Count int    `json:"count,omitempty"`
	Since int64  `json:"since,omitempty"` // Unix nanoseconds
}

// An item describes one descriptor that travels with the message.
type item struct {
	Kind string `json:"kind"`

	Socket     *listener.Handle `json:"socket,omitempty"`     // kindSocket
	Generation int              `json:"generation,omitempty"` // kindProcess, kindChannel
	PID        int              `json:"pid,omitempty"`        // kindProcess
	Version    string           `json:"version,omitempty"`    // kindProcess
	Since      int64            `json:"since,omitempty"`      // kindProcess: Unix nanoseconds
}

// Kinds of items.
const (
	kindCrash   = "crash"   // a memfd for the text of a panic
	kindAnchor  = "anchor"  // the line to the process that keeps the pid
	kindLock    = "lock"    // the locked descriptor of the pid file
	kindSocket  = "socket"  // a listening socket, or whatever the service added
	kindProcess = "process" // the pidfd of an older generation
	kindChannel = "channel" // the channel to it; absent for the sender, whose channel this is

	// What replaces a daemon's standard output and error at the commit.
	kindOutput      = "output"
	kindErrorOutput = "error_output"
)

const (
	frameHeader = len(early.Magic) + 4
	maxFrame    = 128 << 10 // of a whole frame, header included
	maxText     = 16 << 10  // of an error's text
)

// encode returns the frame of m: the magic, the length of the body as four
// bytes, big-endian, and the body.
func encode(m message) ([]byte, error) {
	if len(m.Error) > maxText {
		m.Error = m.Error[:maxText] + " ..."
	}
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.Type, err)
	}
	if frameHeader+len(body) > maxFrame {
		return nil, fmt.Errorf("encode %s: %d bytes, the limit is %d", m.Type, len(body), maxFrame-frameHeader)
	}
	frame := make([]byte, 0, frameHeader+len(body))
	frame = append(frame, early.Magic...)
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(body)))
	return append(frame, body...), nil
}

// errNotOurs reports a packet that is no frame of this protocol.
var errNotOurs = errors.New("not a message of this protocol")

// decode reads one whole frame. A type it does not know is no error: a newer
// build may say more than this one understands.
func decode(frame []byte) (message, error) {
	var m message
	if len(frame) < frameHeader || string(frame[:len(early.Magic)]) != early.Magic {
		return m, errNotOurs
	}
	size := binary.BigEndian.Uint32(frame[len(early.Magic):frameHeader])
	if body := frame[frameHeader:]; uint64(len(body)) != uint64(size) {
		return m, fmt.Errorf("message of %d bytes says it has %d", len(body), size)
	}
	if err := json.Unmarshal(frame[frameHeader:], &m); err != nil {
		return m, fmt.Errorf("decode message: %w", err)
	}
	if m.Type == "" {
		return m, errors.New("decode message: it has no type")
	}
	return m, nil
}
