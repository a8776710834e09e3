//go:build !unix

package gracerun

import "os"

func notifyReopen(chan<- os.Signal) {}

func outliveJournal() {}

func ignoreTerminal() {}
