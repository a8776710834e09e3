//go:build !unix

package gracerun

import (
	"io/fs"
	"os"
)

// deleted is for a lock that was inherited, which there is none of here.
func deleted(*os.File) bool { return false }

// ownedByUs knows no owners: the directory for temporary files is the user's own.
func ownedByUs(fs.FileInfo) bool { return true }
