package control

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"
)

const (
	look      = time.Second           // how often at the status, besides when it changes
	pause     = 50 * time.Millisecond // at least between two looks, however fast it changes
	heartbeat = 15 * time.Second      // so that a proxy does not take the stream for dead
)

// events sends the status whenever it is another, until the client goes, or this
// process lets go: whoever comes back reaches its successor.
func (s Service) events(w http.ResponseWriter, r *http.Request) {
	out := newStream(w, "text/event-stream")
	defer out.close()
	if r.Method == http.MethodHead {
		return
	}
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	watch := watcher{stream: out, service: s}
	if out.send([]byte("retry: 500\n\n")) != nil {
		return
	}
	for {
		changed := s.Changed() // before the look, so that no change falls between
		if watch.show() != nil {
			return
		}
		select {
		case <-changed:
		case <-ticker.C:
		case <-s.Draining():
			watch.show()
			return
		case <-r.Context().Done():
			return
		}
		time.Sleep(pause)
	}
}

// A watcher sends what has changed.
type watcher struct {
	*stream
	service Service
	shown   []byte
	at      time.Time
}

func (w *watcher) show() error {
	status := w.service.Status().Complete()
	uptime := status.Uptime
	status.Uptime = 0 // that it is another is no news
	text, _ := json.Marshal(status)
	if bytes.Equal(text, w.shown) {
		return w.beat()
	}
	status.Uptime = uptime
	message := append([]byte("data: "), encode(status)...)
	w.shown, w.at = text, time.Now()
	return w.send(append(message, '\n'))
}

// beat sends a comment when nothing else was sent for long.
func (w *watcher) beat() error {
	if time.Since(w.at) < heartbeat {
		return nil
	}
	w.at = time.Now()
	return w.send([]byte(":\n\n"))
}
