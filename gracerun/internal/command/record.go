package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// A record is what the next supervisor must know of a program. Builds differ:
// fields that are not known are ignored, those that are missing are zero.
type record struct {
	Name       string    `json:"name"`
	Change     uint64    `json:"change"` // its number: of two records the higher one is true
	State      string    `json:"state"`
	Since      time.Time `json:"since,omitzero"`
	Due        time.Time `json:"due,omitzero"`
	Boot       string    `json:"boot"`                // the boot that PID belongs to
	PID        int       `json:"pid,omitempty"`       // while starting, 0 means: look who has the FIFO
	Begin      uint64    `json:"begin,omitempty"`     // of the process, in ticks after the boot: a pid comes again, the two do not
	Session    int       `json:"session,omitempty"`   // of a process that is looked for
	Keeper     bool      `json:"keeper,omitempty"`    // it has one
	Then       string    `json:"then,omitempty"`      // while stopping, the next state
	StartedAt  time.Time `json:"started_at,omitzero"` // of the process
	Definition string    `json:"definition"`          // hash of what was started
	Met        []string  `json:"met,omitempty"`       // conditions of being ready
	Notify     string    `json:"notify,omitempty"`    // name of the socket to which it says so
	Streams    [2]inode  `json:"streams"`             // the FIFOs of standard output and error
	Parts      [2][]byte `json:"parts"`               // what was read of lines that have not ended
	Restarts   int       `json:"restarts,omitempty"`
	LastExit   string    `json:"last_exit,omitempty"`
	Error      string    `json:"error,omitempty"`
	Output     tail      `json:"output,omitempty"`
	history

	// For who no longer has the definition.
	StopSignal  int           `json:"stop_signal,omitempty"`
	StopTimeout time.Duration `json:"stop_timeout,omitempty"`
}

// An inode names a file, while it is open or has a path.
type inode struct {
	Dev uint64 `json:"dev,omitempty"`
	Ino uint64 `json:"ino,omitempty"`
}

// maxRecord is more than two parts of lines and a tail need.
const maxRecord = 1 << 20

// maxPID is the highest that Linux can be told to give.
const maxPID = 1 << 22

// decodeRecord refuses what would have a signal reach others.
func decodeRecord(text []byte) (r record, err error) {
	if err := json.Unmarshal(text, &r); err != nil {
		return record{}, err
	}
	switch {
	case r.Name == "":
		err = errors.New("the name is missing")
	case r.PID < 0 || r.PID == 1 || r.PID > maxPID:
		err = fmt.Errorf("%d is no pid of a program", r.PID)
	case r.StopSignal < 0 || r.StopSignal > maxSignal:
		err = fmt.Errorf("there is no signal %d", r.StopSignal)
	}
	if err != nil {
		return record{}, err
	}
	return r, nil
}

// loadRecord returns an error that is fs.ErrNotExist where there is none.
func loadRecord(path string) (record, error) {
	f, err := os.Open(path)
	if err != nil {
		return record{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxRecord))
	if err != nil {
		return record{}, err
	}
	r, err := decodeRecord(text)
	if err != nil {
		return record{}, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return r, nil
}

// save replaces the file: a reader finds the old record or the new one. There is
// no sync: a record is of no use after the next boot.
func (r record) save(path string) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	temp := path + ".new" // nobody else writes: one supervisor runs at a time
	if err := os.WriteFile(temp, text, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, path)
}
