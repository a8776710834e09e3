package daemon

import (
	"bytes"
	"log/slog"
)

// Priorities of syslog(3).
const (
	prioCritical = 2
	prioError    = 3
	prioWarning  = 4
	prioInfo     = 6
	prioDebug    = 7
)

// priority finds the level that a line says it has, and takes off a prefix "<N>"
// as in sd-daemon(3). What the Go runtime says last is critical, a line that says
// nothing is info.
func priority(line []byte) (int, []byte) {
	if len(line) >= 3 && line[0] == '<' && '0' <= line[1] && line[1] <= '7' && line[2] == '>' {
		return int(line[1] - '0'), line[3:]
	}
	if bytes.HasPrefix(line, []byte("panic: ")) || bytes.HasPrefix(line, []byte("fatal error: ")) {
		return prioCritical, line
	}
	var level slog.Level
	if word := levelWord(line); word == nil || level.UnmarshalText(word) != nil {
		return prioInfo, line
	}
	switch {
	case level >= slog.LevelError:
		return prioError, line
	case level >= slog.LevelWarn:
		return prioWarning, line
	case level >= slog.LevelInfo:
		return prioInfo, line
	}
	return prioDebug, line
}

// levelWord is what stands where the handlers of log/slog write the level.
func levelWord(line []byte) []byte {
	switch {
	case bytes.HasPrefix(line, []byte("{")):
		return between(line, `"level":"`, `"`)
	case bytes.HasPrefix(line, []byte("level=")):
		return between(line, "level=", " ")
	case bytes.HasPrefix(line, []byte("time=")):
		return between(line, " level=", " ")
	}
	// 2026/01/02 15:04:05 WARN text, or 15:04:05.000000
	date, rest, _ := bytes.Cut(line, []byte(" "))
	clock, rest, _ := bytes.Cut(rest, []byte(" "))
	if !looksLike(date, "0000/00/00") || !looksLike(clock[:min(len(clock), 8)], "00:00:00") {
		return nil
	}
	word, _, _ := bytes.Cut(rest, []byte(" "))
	return word
}

// between returns what is after begin, up to end.
func between(line []byte, begin, end string) []byte {
	_, rest, ok := bytes.Cut(line, []byte(begin))
	if !ok {
		return nil
	}
	word, _, _ := bytes.Cut(rest, []byte(end))
	return word
}

// looksLike reports whether s has digits where pattern has 0, and else the same.
func looksLike(s []byte, pattern string) bool {
	if len(s) != len(pattern) {
		return false
	}
	for i := range s {
		digit := '0' <= s[i] && s[i] <= '9'
		if pattern[i] == '0' && !digit || pattern[i] != '0' && s[i] != pattern[i] {
			return false
		}
	}
	return true
}
