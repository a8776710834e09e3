//go:build linux

package trace

import (
	"fmt"
	"net/http"
	"os"
	"runtime"

	"github.com/gracerun/grace/gracerun"
	"github.com/gracerun/grace/test/load/web"
)

// Handler answers as every service of the tests does, and tells at /state in which
// state the service is, and at /goroutines how many there are.
func Handler(app *gracerun.App) *http.ServeMux {
	mux := web.Handler(func() int { return app.Status().Generation })
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%v %d\n", app.Status().State, os.Getpid())
	})
	mux.HandleFunc("GET /goroutines", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, runtime.NumGoroutine())
	})
	return mux
}
