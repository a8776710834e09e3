package control

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// maxEventsQueued is for a client that does not read: it misses what is more,
// but not the result.
const maxEventsQueued = 64

// upgrade tells each step as it is taken. The request's context ends when the
// client is gone or has not read for writeTimeout: then the upgrade is given up,
// as that of a program would be that nobody waits for any more.
func (s Service) upgrade(w http.ResponseWriter, r *http.Request) {
	now := s.Status()
	accepted := Event{Event: EventAccepted, PID: now.PID, Generation: now.Generation, Version: now.Version, At: time.Now()}
	if r.URL.Query().Get("wait") == "false" {
		s.upgradeAlone(w, r, accepted)
		return
	}
	out := &eventWriter{stream: newStream(w, "application/x-ndjson"), began: accepted.At}
	out.write(accepted)

	events, result := make(chan Event, maxEventsQueued), make(chan error, 1)
	go func() {
		result <- s.Upgrade(r.Context(), func(e Event) {
			select {
			case events <- e:
			default:
			}
		})
	}()
	for {
		select {
		case e := <-events:
			out.step(e)
		case err := <-result:
			for len(events) > 0 {
				out.step(<-events)
			}
			out.result(err)
			return
		}
	}
}

// upgradeAlone answers first. The handler stays, so that the end of the server
// waits for the upgrade as it does for any request; how it ended is in the
// service's log and status.
func (s Service) upgradeAlone(w http.ResponseWriter, r *http.Request, accepted Event) {
	line := encode(accepted)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Content-Length", strconv.Itoa(len(line)))
	w.WriteHeader(http.StatusAccepted)
	w.Write(line)
	http.NewResponseController(w).Flush()
	s.Upgrade(context.WithoutCancel(r.Context()), nil)
}

// An eventWriter writes an upgrade's events, one a line.
type eventWriter struct {
	*stream
	began time.Time
	known Event // what is known of the new process
}

// step writes one, unless it is the result, which has the last line.
func (w *eventWriter) step(e Event) {
	if e.Event != EventWaiting { // that is about another process
		w.known.PID = cmp.Or(e.PID, w.known.PID)
		w.known.Generation = cmp.Or(e.Generation, w.known.Generation)
		w.known.Version = cmp.Or(e.Version, w.known.Version)
	}
	if !e.last() {
		w.write(e)
	}
}

func (w *eventWriter) result(err error) {
	if errors.Is(err, ErrMoved) {
		w.write(Event{Event: EventMoved})
		return
	}
	e := w.known
	e.Event = EventCommitted
	if err != nil {
		e.Event, e.Error = EventFailed, err.Error()
	}
	if f := new(Failure); errors.As(err, &f) {
		e.Stage, e.PID, e.Error = f.Stage, cmp.Or(f.PID, e.PID), f.Err.Error()
	}
	w.write(e)
}

// write does what it can: that the client does not read is told by the
// request's context.
func (w *eventWriter) write(e Event) {
	if e.At.IsZero() {
		e.At = time.Now()
	}
	if e.Took == 0 {
		e.Took = e.At.Sub(w.began).Seconds()
	}
	w.send(encode(e))
}

// encode returns v as a line of JSON, of a type that has one.
func encode(v any) []byte {
	line, _ := json.Marshal(v)
	return append(line, '\n')
}
