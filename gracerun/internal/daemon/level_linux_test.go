package daemon_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/gracerun/grace/gracerun/internal/daemon"
)

func TestPriority(t *testing.T) {
	t.Parallel()
	const none = 6
	tests := []struct {
		line string
		want int
		text string // "" for the line as it is
	}{
		{line: "plain text", want: none},
		{"<3>disk full", 3, "disk full"},
		{"<7>level=ERROR msg=x", 7, "level=ERROR msg=x"}, // the prefix wins
		{line: "<8>no priority", want: none},
		{line: "<b>bold</b>", want: none},
		{line: "<3", want: none},
		{line: "level=WARN msg=x", want: 4},
		{line: "time=2026-01-02T15:04:05.000+01:00 level=ERROR msg=x", want: 3},
		{line: `time=2026-01-02T15:04:05.000Z level=DEBUG source=a.go:1 msg="level=ERROR"`, want: 7},
		{line: "time=2026-01-02T15:04:05.000Z level=INFO+2 msg=x", want: 6},
		{line: "time=2026-01-02T15:04:05.000Z level=ERROR-1 msg=x", want: 4},
		{line: "time=now level=LOUD msg=x", want: none},
		{line: "the level=ERROR is in the text", want: none},
		{line: `{"time":"2026-01-02T15:04:05Z","level":"WARN","msg":"x"}`, want: 4},
		{line: `{"level":"error","msg":"as zap and zerolog write it"}`, want: 3},
		{line: `{"msg":"\"level\":\"ERROR\""}`, want: none},
		{line: `{"level":3}`, want: none},
		{line: "{", want: none},
		{line: "2026/01/02 15:04:05 WARN msg", want: 4},
		{line: "2026/01/02 15:04:05.123456 ERROR msg", want: 3},
		{line: "2026/01/02 15:04:05 text of log.Print", want: none},
		{line: "2026/01/02 15:04:05", want: none},
		{line: "2026/01/02", want: none},
		{line: "2026-01-02 15:04:05 WARN another format", want: none},
		{line: "panic: the disk is on fire", want: 2},
		{line: "fatal error: concurrent map writes", want: 2},
		{line: "panic at the disco", want: none},
		{line: "", want: none},
	}
	for _, tt := range tests {
		level, text := daemon.Priority([]byte(tt.line))
		if tt.text == "" {
			tt.text = tt.line
		}
		if level != tt.want || string(text) != tt.text {
			t.Errorf("%q: %d %q, want %d %q", tt.line, level, text, tt.want, tt.text)
		}
	}
}

// TestPriorityOfSlog: the handlers write what we look for.
func TestPriorityOfSlog(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	handlers := []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, &slog.HandlerOptions{AddSource: true})}
	for _, h := range handlers {
		b.Reset()
		slog.New(h).Warn("text", "key", "value")
		if level, _ := daemon.Priority(b.Bytes()); level != 4 {
			t.Errorf("%s is %d", strings.TrimSpace(b.String()), level)
		}
	}
}

func FuzzPriority(f *testing.F) {
	f.Add([]byte(`{"level":"WARN"}`))
	f.Add([]byte("2026/01/02 15:04:05 WARN msg"))
	f.Fuzz(func(t *testing.T, line []byte) {
		level, text := daemon.Priority(line)
		if level < 0 || level > 7 || !bytes.HasSuffix(line, text) {
			t.Errorf("%d %q", level, text)
		}
	})
}
