package systemd

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// A Manager is what a service manager told the process that it started. It travels
// from generation to generation: the variables are taken out of the environment. The
// zero value means that there is none.
type Manager struct {
	// Socket takes notifications: an absolute path, or an abstract name that
	// begins with "@".
	Socket string `json:"socket,omitempty"`

	// Watchdog is how long the manager waits for a sign of life before it ends
	// the service. 0 means for ever.
	Watchdog time.Duration `json:"watchdog,omitempty"`

	// StoreMax is how many descriptors it keeps for the service. 0 means that it did
	// not say, and keeps none: before systemd 254 [Unit] says it.
	StoreMax int `json:"store_max,omitempty"`
}

const (
	notifySocket  = "NOTIFY_SOCKET"
	watchdogUsec  = "WATCHDOG_USEC"
	watchdogPID   = "WATCHDOG_PID"
	listenPID     = "LISTEN_PID"
	listenFDs     = "LISTEN_FDS"
	listenNames   = "LISTEN_FDNAMES"
	listenPIDFDID = "LISTEN_PIDFDID"
	fdStore       = "FDSTORE"
)

// Variables are those that a manager sets for this one process. Who has read them
// with [ReadManager] and [ReadSockets] unsets them: a command that inherits them would
// speak for the service, or take another's descriptors for sockets.
func Variables() []string {
	return []string{notifySocket, watchdogUsec, watchdogPID, listenPID, listenFDs, listenNames, listenPIDFDID, fdStore}
}

// ReadManager reads the environment of the process pid, its own. What is wrong with
// one variable is an error, and the others count all the same.
func ReadManager(getenv func(string) string, pid int) (m Manager, err error) {
	socket, watchdog, store := getenv(notifySocket), getenv(watchdogUsec), getenv(fdStore)
	if serr := checkSocket(socket); serr != nil {
		err = fmt.Errorf("%s=%s: %w", notifySocket, socket, serr)
	} else {
		m.Socket = socket
	}
	if meant := getenv(watchdogPID); watchdog != "" && (meant == "" || meant == strconv.Itoa(pid)) {
		d, werr := microseconds(watchdog)
		if werr != nil {
			err = errors.Join(err, fmt.Errorf("%s=%s: %w", watchdogUsec, watchdog, werr))
		}
		m.Watchdog = d
	}
	if store != "" {
		n, serr := strconv.ParseUint(store, 10, 31)
		if serr != nil {
			err = errors.Join(err, fmt.Errorf("%s=%s: %w", fdStore, store, errors.Unwrap(serr)))
		}
		m.StoreMax = int(n)
	}
	return m, err
}

// maxSocket is what a sockaddr_un holds, less a zero byte (unix(7)).
const maxSocket = 107

func checkSocket(socket string) error {
	switch {
	case socket == "":
		return nil
	case strings.HasPrefix(socket, "vsock"):
		return fmt.Errorf("a socket to another machine: %w", errors.ErrUnsupported)
	case socket[0] != '/' && socket[0] != '@' || len(socket) == 1:
		return errors.New("neither an absolute path nor an abstract name")
	case len(socket) > maxSocket:
		return fmt.Errorf("longer than %d bytes", maxSocket)
	}
	return nil
}

func microseconds(text string) (time.Duration, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil:
		return 0, errors.Unwrap(err)
	case n <= 0 || n > int64(1<<63-1)/int64(time.Microsecond):
		return 0, strconv.ErrRange
	}
	return time.Duration(n) * time.Microsecond, nil
}

// WatchdogInterval is how often to call [Notifier.Watchdog]: twice as often as needed.
// 0 means never.
func (m Manager) WatchdogInterval() time.Duration { return m.Watchdog / 2 }

// Booted reports whether systemd is the init of this machine or container
// (sd_booted(3)).
func Booted() bool {
	info, err := os.Lstat("/run/systemd/system")
	return err == nil && info.IsDir()
}
