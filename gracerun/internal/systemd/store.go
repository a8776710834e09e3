package systemd

import (
	"errors"
	"fmt"
	"strings"

	"github.com/gracerun/grace/listener"
)

// storePrefix tells our names in the store from those that users give.
const storePrefix = "gracerun/"

// storeFile stands where a socket has its network.
const storeFile = "file"

// StoreName is the name under which [Notifier.Store] keeps the descriptor of h: the
// address is as configured, so that ":0" finds its port again after a restart.
func StoreName(h listener.Handle) string {
	if h.Name != "" {
		return storePrefix + storeFile + "/" + escape(h.Name)
	}
	return storePrefix + h.Network + "/" + escape(h.Address)
}

// parseStoreName is the inverse. A name that StoreName did not make is not ok.
func parseStoreName(name string) (h listener.Handle, ok bool) {
	rest, ours := strings.CutPrefix(name, storePrefix)
	network, escaped, found := strings.Cut(rest, "/")
	text, valid := unescape(escaped)
	switch {
	case !ours || !found || !valid || text == "":
		return h, false
	case network == storeFile:
		return listener.Handle{Name: text}, true
	}
	return listener.Handle{Network: network, Address: text}, true
}

const hexDigits = "0123456789ABCDEF"

// escape leaves what FDNAME= allows: printable ASCII, but no colon, which separates
// the names in LISTEN_FDNAMES.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c > ' ' && c < 0x7f && c != ':' && c != '%' {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
		}
	}
	return b.String()
}

func unescape(s string) (text string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		high, low := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
		if high < 0 || low < 0 {
			return "", false
		}
		b.WriteByte(byte(high<<4 | low))
		i += 2
	}
	return b.String(), true
}

// maxName is that of FDNAME=. With a longer one the manager would keep the descriptor
// under a name of its own.
const maxName = 255

// ErrName is the reason when the store takes no descriptor of a name.
var ErrName = errors.New("no name for the fd store")

func checkName(name string) error {
	var err error
	switch {
	case name == "":
		err = errors.New("it is empty")
	case len(name) > maxName:
		err = fmt.Errorf("longer than %d bytes", maxName)
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r >= 0x7f || r == ':' }):
		err = errors.New("only printable ASCII, and no colon, can be in it")
	default:
		return nil
	}
	return fmt.Errorf("%w: %q: %w", ErrName, name, err)
}
