// Package daemon knows what a daemon is made of: where it may run and as whom,
// the files and directories it needs, and where its output goes. It starts
// nothing: package handoff does, with what a [Plan] says.
package daemon
