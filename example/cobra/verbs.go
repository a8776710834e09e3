package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/gracerun/grace/gracerun"
)

// addVerbs makes a command of each verb of app.
//
// What follows the verb is left to App.Exec, which knows the verb's flags. What
// comes before is root's, to which cobra gives it with TraverseChildren alone.
//
// start and the upgrades run the program again with the arguments that it has:
// there App.Exec runs the service, whatever the verb.
func addVerbs(root *cobra.Command, app *gracerun.App) {
	root.AddGroup(&cobra.Group{ID: "service", Title: "The service:"})
	for _, verb := range []struct{ name, help string }{
		{"run", "Run in the foreground"},
		{"start", "Run in the background; return when it serves"},
		{"stop", "Finish what is in hand, then end"},
		{"restart", "Upgrade if it runs, else start"},
		{"reload", "Read the configuration again, in a new process"},
		{"upgrade", "Go on with the program as it is now, in a new process"},
		{"status", "Say how it is"},
	} {
		exec := func(cmd *cobra.Command, args ...string) {
			if code := app.Exec(cmd.Context(), args, cmd.OutOrStdout(), cmd.ErrOrStderr()); code != 0 {
				os.Exit(code)
			}
		}
		command := &cobra.Command{
			Use:                verb.name,
			Short:              verb.help,
			GroupID:            "service",
			DisableFlagParsing: true,
			Run: func(cmd *cobra.Command, args []string) {
				exec(cmd, append([]string{verb.name}, args...)...)
			},
		}
		command.SetHelpFunc(func(cmd *cobra.Command, _ []string) { exec(cmd, "help", verb.name) })
		root.AddCommand(command)
	}
}
