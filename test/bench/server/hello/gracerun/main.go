// Command gracerun is the service of gracerun's README, at the address of the
// variable ADDRESS.
package main

import (
	"fmt"
	"net/http"
	"os"

	"github.com/gracerun/grace/gracerun"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "generation 0 pid", os.Getpid())
	})
	var app gracerun.App
	app.Serve("tcp", os.Getenv("ADDRESS"), &http.Server{})
	app.Main()
}
