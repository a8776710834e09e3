//go:build !unix

package daemon

// Watched returns false: no upgrade changes the pid.
func Watched() bool { return false }

// StartedBySystemd returns false.
func StartedBySystemd() bool { return false }

// Foreground returns "".
func Foreground() (why string) { return "" }
