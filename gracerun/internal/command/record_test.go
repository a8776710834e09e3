package command

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// aRecord has every field.
func aRecord() record {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	return record{
		Name: "web", Change: 42, State: Running, Since: at, Due: at, Boot: "b", PID: 4711, Begin: 99, Session: 12, Keeper: true, Then: Done,
		StartedAt: at, Definition: "d", Met: []string{"line"}, Notify: "n", Streams: [2]inode{{1, 2}, {1, 3}},
		Parts: [2][]byte{[]byte("half a "), nil}, Restarts: 3, LastExit: "exit status 1", Error: "e", Output: tail{"one", "two"},
		history: history{Failures: []time.Time{at}, Pause: time.Second}, StopSignal: 15, StopTimeout: time.Minute,
	}
}

// TestRecordFormat pins what another build must read.
func TestRecordFormat(t *testing.T) {
	t.Parallel()
	const golden = "testdata/record.json"
	text, err := json.MarshalIndent(aRecord(), "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(text)+"\n" != string(want) {
		t.Errorf("the format has changed:\n%s", text)
	}
	r, err := decodeRecord(append([]byte(`{"of a later build": [1], `), want[1:]...))
	if err != nil || !reflect.DeepEqual(r, aRecord()) {
		t.Errorf("read %+v, %v", r, err)
	}
}

func TestSaveAndLoad(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "r.json")
	if _, err := loadRecord(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of no file: %v", err)
	}
	for _, want := range []record{{Name: "x"}, aRecord()} {
		if err := want.save(path); err != nil {
			t.Fatal(err)
		}
		if got, err := loadRecord(path); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("loaded %+v, %v", got, err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	big := record{Name: "x", Output: make(tail, tailLines)}
	for i := range big.Parts {
		big.Parts[i] = []byte(strings.Repeat("x", maxLine))
	}
	for i := range big.Output {
		big.Output[i] = strings.Repeat("\x00", tailWidth)
	}
	if err := big.save(path); err != nil {
		t.Fatal(err)
	}
	if _, err := loadRecord(path); err != nil {
		t.Errorf("the largest record: %v", err)
	}
}

// TestBadRecord: none has a signal reach a stranger.
func TestBadRecord(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "{", "[]", `{"name":""}`, `{"name":"x","pid":1}`, `{"name":"x","pid":-1}`, `{"name":"x","pid":4194305}`,
		`{"name":"x","stop_signal":-1}`, `{"name":"x","stop_signal":65}`, `{"name":"x","pid":"2"}`,
	} {
		if r, err := decodeRecord([]byte(text)); err == nil {
			t.Errorf("%q: %+v", text, r)
		}
	}
}

func FuzzRecord(f *testing.F) {
	text, _ := json.Marshal(aRecord())
	f.Add(text)
	f.Add([]byte(`{"name":"x","pid":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := decodeRecord(text)
		if err != nil {
			return
		}
		if r.PID < 0 || r.PID == 1 || r.Name == "" {
			t.Errorf("%+v", r)
		}
		if _, err := json.Marshal(r); err != nil {
			t.Error(err)
		}
	})
}
