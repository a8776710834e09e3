package pidfile

// Held reports whether anybody holds the lock of the pid file at path: whether the service
// runs. It takes nothing, writes nothing, does not wait, and needs no right to open the
// lock file, as [Read].
func Held(path string) (bool, error) {
	path, err := absolute(path)
	if err != nil {
		return false, err
	}
	return lockHeld(LockPath(path))
}

// Holds reports whether the process pid has a descriptor of the held lock of the pid file
// at path. To signal a process for certain, get hold of it first, by [os.FindProcess], and
// ask then.
//
// An error means that it cannot be told: it wraps [io/fs.ErrPermission] for another user's
// process, [io/fs.ErrNotExist] for one that has ended or is hidden, and
// [errors.ErrUnsupported] where there is no /proc.
func Holds(path string, pid int) (bool, error) {
	path, err := absolute(path)
	if err != nil {
		return false, err
	}
	return holdsLock(pid, LockPath(path))
}

// Holders returns the pids of the processes that have a descriptor of the held lock of the
// pid file at path, in ascending order: all generations of the service, and for an instant
// a child that one of them is just starting. It finds them even when the pid file is lost.
//
// Processes into which this one may not look, as those of other users, are left out; so an
// empty result is no proof that nobody holds the lock, see [Held] for that. The error wraps
// [errors.ErrUnsupported] where there is no /proc.
func Holders(path string) ([]int, error) {
	path, err := absolute(path)
	if err != nil {
		return nil, err
	}
	return lockHolders(LockPath(path))
}
