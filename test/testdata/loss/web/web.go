// Package web is what the services of the load tests answer over HTTP. It is
// the same for the one that gracerun replaces and for the one that follows
// tableflip's README, so that nothing but the hand-over differs.
package web

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// Handler answers what the clients of package load ask for, and at GET /sleeping
// how many requests for /sleep are in hand. generation is called for each
// request.
func Handler(generation func() int) *http.ServeMux {
	var sleeping atomic.Int64
	mux := new(http.ServeMux)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "generation %d pid %d\n", generation(), os.Getpid())
	})
	mux.HandleFunc("GET /sleep", func(w http.ResponseWriter, r *http.Request) {
		d, _ := time.ParseDuration(r.FormValue("d"))
		sleeping.Add(1)
		defer sleeping.Add(-1)
		time.Sleep(d)
		fmt.Fprintf(w, "generation %d pid %d slept %v\n", generation(), os.Getpid(), d)
	})
	mux.HandleFunc("GET /sleeping", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, sleeping.Load())
	})
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil {
			w.Write(body)
		}
	})
	return mux
}

// Protocols are all that net/http has, HTTP/2 without TLS included.
func Protocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(true)
	p.SetUnencryptedHTTP2(true)
	return p
}
