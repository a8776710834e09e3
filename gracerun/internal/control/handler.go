package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

const (
	maxBody     = 64 << 10
	bodyTimeout = 5 * time.Second
	// writeTimeout is for an answer, and for each line of one that goes on.
	writeTimeout = 10 * time.Second
)

// A route is what there is at one path.
type route struct {
	method string
	serve  http.HandlerFunc
}

// Handler is the whole of the control socket, for connections that the server of
// [NewServer] has identified; all others get 403.
func Handler(s Service) http.Handler {
	routes := watching(s)
	routes["/upgrade"] = route{http.MethodPost, s.upgrade}
	routes["/reload"] = route{http.MethodPost, s.reload}
	routes["/stop"] = route{http.MethodPost, s.stop}
	routes["/reopen-logs"] = route{http.MethodPost, s.reopen}
	routes["/pause"] = route{http.MethodPost, named(s.Pause)}
	routes["/resume"] = route{http.MethodPost, named(s.Resume)}
	routes["/trigger"] = route{http.MethodPost, named(s.Trigger)}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := r.Context().Value(peerKey{}).(peer); !ok {
			refuse(w, http.StatusForbidden, "only the user of the service and root may use the control socket")
			return
		}
		// Nobody here may take his time, neither to send nor to read.
		rc := http.NewResponseController(w)
		rc.SetWriteDeadline(time.Now().Add(writeTimeout))
		if err := checkBody(w, r, rc); err != nil {
			refuseBody(w, err)
			return
		}
		dispatch(routes, w, r)
	})
}

// ReadOnly is what may be shown to others: the page, status, health, probes, metrics and
// events. Links are relative, so that it works anywhere, below a prefix with
// [http.StripPrefix]. It asks nobody who he is.
func ReadOnly(s Service) http.Handler {
	routes := watching(s)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "" {
			// The prefix without its slash: relative links would miss it.
			asked, _, _ := strings.Cut(r.RequestURI, "?")
			w.Header().Set("Location", "./"+path.Base(asked)+"/")
			w.WriteHeader(http.StatusMovedPermanently)
			return
		}
		dispatch(routes, w, r)
	})
}

// watching are the routes that change nothing.
func watching(s Service) map[string]route {
	return map[string]route{
		"/":        {http.MethodGet, newPage(s)},
		"/status":  {http.MethodGet, s.status},
		"/healthz": {http.MethodGet, s.healthz},
		"/readyz":  {http.MethodGet, Probe("ready", s.Ready).ServeHTTP},
		"/livez":   {http.MethodGet, Probe("alive", s.Live).ServeHTTP},
		"/metrics": {http.MethodGet, s.metrics},
		"/events":  {http.MethodGet, atMost(maxWatchers, s.events)},
	}
}

// maxWatchers leaves room for those who do not stay.
const maxWatchers = 32

// atMost serves n requests at a time and refuses the others.
func atMost(n int, serve http.HandlerFunc) http.HandlerFunc {
	slots := make(chan struct{}, n)
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			serve(w, r)
		default:
			refuse(w, http.StatusServiceUnavailable, "too many are watching already")
		}
	}
}

func dispatch(routes map[string]route, w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	found, ok := routes[r.URL.Path]
	if !ok {
		refuse(w, http.StatusNotFound, fmt.Sprintf("there is nothing at %q", r.URL.Path))
		return
	}
	if r.Method != found.method && (r.Method != http.MethodHead || found.method != http.MethodGet) {
		allow := found.method
		if allow == http.MethodGet {
			allow += ", " + http.MethodHead
		}
		w.Header().Set("Allow", allow)
		refuse(w, http.StatusMethodNotAllowed, fmt.Sprintf("%s takes %s", r.URL.Path, allow))
		return
	}
	found.serve(w, r)
}

var errNoJSON = errors.New("the body is not JSON, and none is needed")

// checkBody reads what comes with a request. Nothing needs any yet: JSON is
// left for later.
func checkBody(w http.ResponseWriter, r *http.Request, rc *http.ResponseController) error {
	if r.ContentLength == 0 {
		return nil
	}
	rc.SetReadDeadline(time.Now().Add(bodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return err
	}
	rc.SetReadDeadline(time.Time{})
	if len(body) > 0 && !json.Valid(body) {
		return errNoJSON
	}
	return nil
}

func refuseBody(w http.ResponseWriter, err error) {
	w.Header().Set("Connection", "close")
	code := http.StatusBadRequest
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		code = http.StatusRequestEntityTooLarge
	}
	refuse(w, code, err.Error())
}

func refuse(w http.ResponseWriter, code int, why string) { answer(w, code, refusal{Error: why}) }

// answer cannot fail in a way that somebody could be told of.
func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(v)
}

func (s Service) status(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, s.Status().Complete())
}

// healthz says yes while the service is its own best owner.
func (s Service) healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	switch state := s.Status().State; state {
	case "ready", "upgrading":
		io.WriteString(w, "ok\n")
	default:
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, state+"\n")
	}
}

// done is the answer to a request that has been met.
type done struct {
	OK bool `json:"ok"`
}

func (s Service) reload(w http.ResponseWriter, r *http.Request) {
	if s.Reload == nil {
		refuse(w, http.StatusNotImplemented, "this service has no reload: an upgrade rereads its configuration")
		return
	}
	report(w, patiently(w, func() error { return s.Reload(r.Context()) }))
}

// patiently lets do take its time, and the answer have its own.
func patiently(w http.ResponseWriter, do func() error) error {
	rc := http.NewResponseController(w)
	rc.SetWriteDeadline(time.Time{})
	defer func() { rc.SetWriteDeadline(time.Now().Add(writeTimeout)) }()
	return do()
}

// named serves what is done to one task or command.
func named(do func(name string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Query().Get("name")
		switch {
		case do == nil:
			refuse(w, http.StatusNotImplemented, "this service cannot do that to its tasks")
			return
		case name == "":
			refuse(w, http.StatusBadRequest, "which task? "+r.URL.Path+"?name=")
			return
		}
		err := patiently(w, func() error { return do(name) })
		switch {
		case errors.Is(err, fs.ErrNotExist):
			answer(w, http.StatusNotFound, refusal{Error: err.Error(), Task: name})
		case errors.Is(err, errors.ErrUnsupported):
			refuse(w, http.StatusNotImplemented, err.Error())
		default:
			report(w, err)
		}
	}
}

func (s Service) stop(w http.ResponseWriter, r *http.Request) {
	s.Stop("asked over the control socket by " + asker(r.Context()))
	answer(w, http.StatusAccepted, done{true})
}

func (s Service) reopen(w http.ResponseWriter, _ *http.Request) { report(w, s.Reopen()) }

func report(w http.ResponseWriter, err error) {
	switch {
	case err == nil:
		answer(w, http.StatusOK, done{true})
	case errors.Is(err, ErrMoved):
		refuse(w, http.StatusMisdirectedRequest, err.Error()) // RFC 9110, section 15.5.20
	default:
		refuse(w, http.StatusInternalServerError, err.Error())
	}
}

// asker names who is at the other end of the connection.
func asker(ctx context.Context) string {
	p, _ := ctx.Value(peerKey{}).(peer)
	return p.String()
}
