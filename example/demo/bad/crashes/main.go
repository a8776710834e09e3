// Command crashes is a broken new version for the demo: it serves slowly, and
// panics 100 ms later with requests in its hands.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/gracerun/grace/gracerun"
)

const slow = 30 * time.Millisecond

func main() {
	var app gracerun.App
	http.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		time.Sleep(slow)
		if err == nil {
			w.Write(body)
		}
	})
	http.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		d, _ := time.ParseDuration(r.FormValue("d")) // of /sleep and /stream
		time.Sleep(d + slow)
		fmt.Fprintf(w, "generation %d pid %d\n", app.Status().Generation, os.Getpid())
	})
	app.Serve("tcp", "127.0.0.1:0", &http.Server{})
	app.Check = func(context.Context) error { // it serves now
		time.AfterFunc(100*time.Millisecond, func() { panic("the price list is empty") })
		return nil
	}
	app.Main()
}
