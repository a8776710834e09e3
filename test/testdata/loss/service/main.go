// Command service is one App that serves HTTP, HTTP over a unix socket, HTTPS
// with HTTP/2, and lines over raw TCP. Its directory has the certificate, and
// gets the unix socket http.sock, where GET /status tells the addresses.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/gracerun/grace/gracerun"
	"github.com/gracerun/grace/test/load/web"
)

func main() {
	app := gracerun.App{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	flag.StringVar(&app.RunDir, "dir", ".", "`directory` of all files")
	flag.DurationVar(&app.Linger, "linger", 0, "time for a last request")
	flag.DurationVar(&app.Probation, "probation", 0, "time both generations serve")
	flag.IntVar(&app.Generations, "generations", 0, "how many may be alive")
	flag.Parse()

	generation := func() int { return app.Status().Generation }
	mux := web.Handler(generation)
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(app.Status())
	})
	plain := &http.Server{Handler: mux, Protocols: web.Protocols()}
	app.Serve("tcp", "127.0.0.1:0", plain)
	app.Serve("unix", filepath.Join(app.RunDir, "http.sock"), plain)
	app.Serve("tcp", "127.0.0.1:0", gracerun.TLS(&http.Server{Handler: mux},
		filepath.Join(app.RunDir, "cert.pem"), filepath.Join(app.RunDir, "key.pem")))
	app.Serve("tcp", "127.0.0.1:0", gracerun.ConnServer{Handle: func(_ context.Context, conn net.Conn) {
		web.Lines(conn, generation())
	}})
	app.Main()
}
