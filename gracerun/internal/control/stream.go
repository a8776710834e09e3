package control

import (
	"net/http"
	"time"
)

// A stream is an answer that goes on. Each piece has its own time to be read.
type stream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func newStream(w http.ResponseWriter, contentType string) *stream {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("X-Accel-Buffering", "no") // a proxy is to pass each piece on
	return &stream{w, http.NewResponseController(w)}
}

func (s *stream) send(piece []byte) error {
	s.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := s.w.Write(piece); err != nil {
		return err
	}
	return s.rc.Flush()
}

// close takes the deadline off a connection that others may use next.
func (s *stream) close() { s.rc.SetWriteDeadline(time.Time{}) }
