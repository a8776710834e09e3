//go:build !linux

package pidfile

import "errors"

// Only Linux lists locks and says whose they are: elsewhere a live pid is taken at its word, and root
// trusts only its own files.

func lockListed(string) (bool, error)     { return false, errors.ErrUnsupported }
func holdsLock(int, string) (bool, error) { return false, errors.ErrUnsupported }
func lockHolders(string) ([]int, error)   { return nil, errors.ErrUnsupported }
func userOf(int) (int, error)             { return 0, errors.ErrUnsupported }
