//go:build !unix

package daemon

// Foreground returns "".
func Foreground() (why string) { return "" }
