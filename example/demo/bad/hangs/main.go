// Command hangs is a broken new version for the demo: its Setup never returns.
package main

import (
	"context"
	"time"

	"github.com/gracerun/grace/gracerun"
)

func main() {
	app := gracerun.App{
		ReadyTimeout: 500 * time.Millisecond, // the default is a minute
		Setup:        func(context.Context) error { select {} },
	}
	app.Main()
}
