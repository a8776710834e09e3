package control

import (
	"context"
	"io"
	"net/http"
)

// Probe answers 200 and yes while ask returns nil, else 503 and why not. ask gets the
// context of the request; a nil one says yes.
func Probe(yes string, ask func(context.Context) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if ask != nil {
			if err := ask(r.Context()); err != nil {
				w.WriteHeader(http.StatusServiceUnavailable)
				io.WriteString(w, "not "+yes+": "+err.Error()+"\n")
				return
			}
		}
		io.WriteString(w, yes+"\n")
	})
}
