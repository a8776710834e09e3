// Package server is what all the servers under comparison have in common: their
// addresses and one HTTP handler. How each begins, is replaced and ends is in the
// main of its directory, as its project recommends.
package server

import (
	"context"
	"encoding/json"
	"flag"
	"net"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/gracerun/grace/test/load/web"
)

// Options are the flags of every server.
type Options struct {
	HTTP      []string      // addresses, at least one
	TLS       string        // address of HTTPS with HTTP/2; "" = none
	Raw       string        // address of lines over TCP; "" = none
	Cert, Key string        // files, for TLS
	RunDir    string        // a private directory
	Probation time.Duration // gracerun's only; 0 = its default
	Ready     time.Duration // how long a new process may take to be ready, where that can be set; 0 = the default
}

// Parse reads the flags.
func Parse() *Options {
	var o Options
	addresses := flag.String("http", "127.0.0.1:8080", "`addresses` of HTTP, separated by commas")
	flag.StringVar(&o.TLS, "tls", "", "`address` of HTTPS")
	flag.StringVar(&o.Raw, "raw", "", "`address` of lines over TCP")
	flag.StringVar(&o.Cert, "cert", "", "certificate `file`")
	flag.StringVar(&o.Key, "key", "", "key `file`")
	flag.StringVar(&o.RunDir, "rundir", ".", "private `directory`")
	flag.DurationVar(&o.Probation, "probation", 0, "gracerun's only: `time` both generations serve; 0 = its default")
	flag.DurationVar(&o.Ready, "ready", 0, "`time` a new process may take to be ready, where that can be set; 0 = the default")
	flag.Parse()
	o.HTTP = strings.Split(*addresses, ",")
	return &o
}

// crash is set by the linker in the build that dies so long after its start.
var crash string

// Handler returns what every server answers: what package load asks for, and
// GET /memstats.
func Handler() http.Handler {
	if d, _ := time.ParseDuration(crash); d > 0 {
		time.AfterFunc(d, func() { panic("broken on purpose: this build dies late") })
	}
	mux := web.Handler(func() int { return 0 }) // not every peer counts them
	mux.HandleFunc("GET /memstats", func(w http.ResponseWriter, r *http.Request) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		json.NewEncoder(w).Encode(&m)
	})
	return mux
}

// New returns an [http.Server] with that handler.
func New() *http.Server { return &http.Server{Handler: Handler()} }

// Lines answers a connection of raw TCP.
func Lines(_ context.Context, conn net.Conn) {
	defer conn.Close()
	web.Lines(conn, 0)
}

// ServeLines answers connections of raw TCP until there are no more, and then
// closes the listener.
func ServeLines(ln net.Listener) error {
	defer ln.Close()
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		go Lines(context.Background(), conn)
	}
}

// All returns all addresses of the options that are set, HTTP's first.
func (o *Options) All() []string {
	all := o.HTTP[:len(o.HTTP):len(o.HTTP)]
	for _, a := range []string{o.TLS, o.Raw} {
		if a != "" {
			all = append(all, a)
		}
	}
	return all
}
