// Command http is an HTTP service that upgrades under load:
//
//	http -addr :8080 -log /var/log/http.log start
//	http reload    # after a new binary was installed in its place
//	http status
//	http stop
package main

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/gracerun/grace/gracerun"
)

func main() {
	var app gracerun.App
	addr := flag.String("addr", "127.0.0.1:8080", "`address` to listen on")
	flag.StringVar(&app.RunDir, "rundir", "", "run `directory`")
	flag.StringVar(&app.Daemon.Output, "log", "", "log `file` of the daemon that start makes")
	flag.DurationVar(&app.DrainTimeout, "drain", 0, "time for work in hand (0 = 30s, <0 = no limit)")
	flag.DurationVar(&app.Probation, "probation", 0, "time both generations serve (0 = 500ms, <0 = none)")
	flag.Parse()

	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "generation %d pid %d\n", app.Status().Generation, os.Getpid())
	})
	http.HandleFunc("GET /sleep", func(w http.ResponseWriter, r *http.Request) {
		d, _ := time.ParseDuration(r.FormValue("d"))
		time.Sleep(d)
		fmt.Fprintf(w, "slept %v\n", d)
	})
	http.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil {
			w.Write(body)
		}
	})
	http.HandleFunc("GET /stream", stream)
	app.Serve("tcp", *addr, &http.Server{})
	app.Main()
}
