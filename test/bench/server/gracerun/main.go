// Command gracerun is the server as gracerun's README has it.
package main

import (
	"github.com/gracerun/grace/gracerun"
	"github.com/gracerun/grace/test/bench/server"
)

func main() {
	o, srv := server.Parse(), server.New()
	app := gracerun.App{RunDir: o.RunDir, Probation: o.Probation, ReadyTimeout: o.Ready}
	for _, addr := range o.HTTP {
		app.Serve("tcp", addr, srv)
	}
	if o.TLS != "" {
		app.Serve("tcp", o.TLS, gracerun.TLS(server.New(), o.Cert, o.Key))
	}
	if o.Raw != "" {
		app.Serve("tcp", o.Raw, gracerun.ConnServer{Handle: server.Lines})
	}
	app.Main()
}
