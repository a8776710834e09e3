// Command cobra is a service with a command line of its own, made with
// github.com/spf13/cobra, to which the verbs of gracerun are added as commands:
//
//	cd example/cobra && go build -o mysvc .
//	echo '{"address": "127.0.0.1:8080", "greeting": "hello"}' > mysvc.json
//	./mysvc --config mysvc.json check
//	./mysvc --config mysvc.json start
//	./mysvc status --json
//	./mysvc reload                  # replaces the process, which reads the file again
//	./mysvc stop --timeout 5s
//
// The flags of the program go before the command, those of a verb after it.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"github.com/gracerun/grace/gracerun"
)

func main() {
	if rootCommand().Execute() != nil { // cobra has printed it
		os.Exit(1)
	}
}

func rootCommand() *cobra.Command {
	var path string
	app := &gracerun.App{Name: "mysvc"}
	// Only here, and not in PersistentPreRunE or cobra.OnInitialize, which run
	// for stop, too: a broken file must not keep the service from stopping.
	app.Setup = func(context.Context) error { return setUp(app, path) }
	// The daemon has the same arguments, so that the names in them must have
	// the same meaning: it stays in the directory in which it was started.
	app.Daemon.Dir, _ = os.Getwd()

	root := &cobra.Command{
		Use:              "mysvc",
		Short:            "A service that says hello",
		Args:             cobra.NoArgs,
		RunE:             func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceUsage:     true,
		TraverseChildren: true, // see addVerbs
	}
	root.PersistentFlags().StringVar(&path, "config", "/etc/mysvc.json", "`file` with the configuration")
	root.PersistentFlags().StringVar(&app.RunDir, "rundir", "", "run `directory`")
	root.AddCommand(checkCommand(&path))
	addVerbs(root, app)
	return root
}

// checkCommand is one of the program's own.
func checkCommand(path *string) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Say whether the configuration is right",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := readConfig(*path)
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "%s is right: %s is served\n", *path, c.Address)
			}
			return err
		},
	}
}

// setUp runs in a process that will serve, and in no other.
func setUp(app *gracerun.App, path string) error {
	c, err := readConfig(path)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "generation %d pid %d says %s\n", app.Status().Generation, os.Getpid(), c.Greeting)
	})
	app.Serve("tcp", c.Address, &http.Server{Handler: mux})
	return nil
}
