package httpdrain

import "encoding/binary"

// What matters of frames here: RFC 9113, section 6.
const (
	frameHeaders      = 0x1
	framePushPromise  = 0x5
	frameGoAway       = 0x7
	frameContinuation = 0x9
	flagEndHeaders    = 0x4
)

// frames follows a stream of HTTP/2 frames (RFC 9113, section 4.1) to know where another may be put in between.
type frames struct {
	head  [9]byte
	have  int  // bytes of head
	left  int  // bytes still to come of the payload, or of the preface
	block bool // inside a header block, which CONTINUATION must follow and nothing else (section 6.10)
	count int  // frames begun

	headers bool // a header block has begun
	goaway  bool // a GOAWAY has passed
}

func (f *frames) scan(p []byte) {
	for len(p) > 0 {
		if f.left > 0 {
			n := min(f.left, len(p))
			f.left -= n
			p = p[n:]
			continue
		}
		n := copy(f.head[f.have:], p)
		f.have += n
		p = p[n:]
		if f.have == len(f.head) {
			f.frame()
		}
	}
}

func (f *frames) frame() {
	f.have = 0
	f.count++
	f.left = int(binary.BigEndian.Uint32(f.head[:]) >> 8)
	switch f.head[3] {
	case frameHeaders, framePushPromise, frameContinuation:
		f.headers = true
		f.block = f.head[4]&flagEndHeaders == 0
	case frameGoAway:
		f.goaway = true
	}
}

// boundary reports whether a frame may begin here.
func (f *frames) boundary() bool { return f.have == 0 && f.left == 0 && !f.block }
