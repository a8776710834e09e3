// Package web is what services answer to the clients of package load. It is the
// same for those that gracerun replaces and for all that they are compared with,
// so that nothing but the hand-over differs.
package web

import (
	"bufio"
	"fmt"
	"io"
	"net"
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
	mux.HandleFunc("GET /stream", func(w http.ResponseWriter, r *http.Request) {
		d, _ := time.ParseDuration(r.FormValue("d"))
		stream(w, d)
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

// stream writes a line every 100 ms for d, each at once.
func stream(w http.ResponseWriter, d time.Duration) {
	rc := http.NewResponseController(w)
	for end := time.Now().Add(d); ; time.Sleep(100 * time.Millisecond) {
		fmt.Fprintf(w, "pid %d\n", os.Getpid())
		if rc.Flush() != nil || !time.Now().Before(end) {
			return
		}
	}
}

// Lines is what they answer over raw TCP: "generation G pid P", then every line
// back until the client leaves.
func Lines(conn net.Conn, generation int) {
	fmt.Fprintf(conn, "generation %d pid %d\n", generation, os.Getpid())
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		fmt.Fprintln(conn, lines.Text())
	}
}

// Protocols are all that net/http has, HTTP/2 without TLS included.
func Protocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(true)
	p.SetUnencryptedHTTP2(true)
	return p
}
