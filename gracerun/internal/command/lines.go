package command

import (
	"bytes"
	"cmp"
	"unicode/utf8"
)

const (
	// maxLine is the length from which on a line is cut into pieces.
	maxLine = 64 << 10
	// cutMark ends each piece but the last.
	cutMark = "…"
)

// A splitter makes lines of what is read.
type splitter struct {
	part []byte // the line that has not ended
	max  int    // as maxLine, which 0 means
}

// feed calls line with each line that ends in b, and lends it the slice: it may
// even append to it.
func (s *splitter) feed(b []byte, line func([]byte)) {
	for {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			s.part = append(s.part, b...)
			s.cut(line)
			return
		}
		s.part = append(s.part, b[:end]...)
		s.cut(line)
		text := bytes.TrimSuffix(s.part, []byte("\r"))
		s.part = s.part[:0]
		line(text)
		b = b[end+1:]
	}
}

// cut gives away pieces of a line that is too long, at the boundary of a character.
func (s *splitter) cut(line func([]byte)) {
	limit := cmp.Or(s.max, maxLine)
	for len(s.part) > limit {
		end := limit
		for end > max(limit-utf8.UTFMax, 1) && !utf8.RuneStart(s.part[end]) {
			end--
		}
		line(append(bytes.Clone(s.part[:end]), cutMark...))
		s.part = append(s.part[:0], s.part[end:]...)
	}
}

// flush calls line with a last line that nothing has ended.
func (s *splitter) flush(line func([]byte)) {
	if len(s.part) > 0 {
		line(bytes.TrimSuffix(s.part, []byte("\r")))
		s.part = nil
	}
}

// A tail is the last lines of a program.
type tail []string

const (
	tailLines = 10
	tailWidth = 4 << 10 // bytes of each
)

func (t *tail) add(line []byte) {
	if len(line) > tailWidth {
		line = append(bytes.Clone(line[:tailWidth]), cutMark...)
	}
	*t = append(*t, string(bytes.ToValidUTF8(line, []byte("\uFFFD"))))
	if n := len(*t); n > tailLines {
		*t = append((*t)[:0:0], (*t)[n-tailLines:]...)
	}
}
