package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/gracerun/grace/gracerun"
)

// stream writes a line every 100 ms, and ends politely when this generation
// drains: the client asks again and gets the rest from the next one.
func stream(w http.ResponseWriter, r *http.Request) {
	d, _ := time.ParseDuration(r.FormValue("d"))
	end := time.After(d)
	for i := 0; ; i++ {
		fmt.Fprintf(w, "line %d\n", i)
		http.NewResponseController(w).Flush()
		select {
		case <-time.After(100 * time.Millisecond):
		case <-end:
			return
		case <-r.Context().Done():
			return
		case <-gracerun.Draining(r.Context()):
			fmt.Fprintln(w, "come again")
			return
		}
	}
}
