//go:build !unix

package gracerun

import "io/fs"

// ownedByUs knows no owners: the directory for temporary files is the user's own.
func ownedByUs(fs.FileInfo) bool { return true }
