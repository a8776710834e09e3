package listener_test

import (
	"maps"
	"net"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/listener"
	"golang.org/x/sys/unix"
)

type option struct{ level, opt int }

// options are those that a configuration or the kernel's defaults may change.
func options() map[string]option {
	return map[string]option{
		"SO_TYPE":                 {unix.SOL_SOCKET, unix.SO_TYPE},
		"SO_DOMAIN":               {unix.SOL_SOCKET, unix.SO_DOMAIN},
		"SO_PROTOCOL":             {unix.SOL_SOCKET, unix.SO_PROTOCOL},
		"SO_ACCEPTCONN":           {unix.SOL_SOCKET, unix.SO_ACCEPTCONN},
		"SO_REUSEADDR":            {unix.SOL_SOCKET, unix.SO_REUSEADDR},
		"SO_REUSEPORT":            {unix.SOL_SOCKET, unix.SO_REUSEPORT},
		"SO_BROADCAST":            {unix.SOL_SOCKET, unix.SO_BROADCAST},
		"SO_KEEPALIVE":            {unix.SOL_SOCKET, unix.SO_KEEPALIVE},
		"SO_OOBINLINE":            {unix.SOL_SOCKET, unix.SO_OOBINLINE},
		"SO_PRIORITY":             {unix.SOL_SOCKET, unix.SO_PRIORITY},
		"SO_MARK":                 {unix.SOL_SOCKET, unix.SO_MARK},
		"SO_SNDBUF":               {unix.SOL_SOCKET, unix.SO_SNDBUF},
		"SO_RCVBUF":               {unix.SOL_SOCKET, unix.SO_RCVBUF},
		"TCP_NODELAY":             {unix.IPPROTO_TCP, unix.TCP_NODELAY},
		"TCP_KEEPIDLE":            {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
		"TCP_KEEPINTVL":           {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
		"TCP_KEEPCNT":             {unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
		"TCP_DEFER_ACCEPT":        {unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT},
		"TCP_USER_TIMEOUT":        {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT},
		"TCP_FASTOPEN":            {unix.IPPROTO_TCP, unix.TCP_FASTOPEN},
		"TCP_QUICKACK":            {unix.IPPROTO_TCP, unix.TCP_QUICKACK},
		"TCP_NOTSENT_LOWAT":       {unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT},
		"IPV6_V6ONLY":             {unix.IPPROTO_IPV6, unix.IPV6_V6ONLY},
		"IP_TOS":                  {unix.IPPROTO_IP, unix.IP_TOS},
		"IP_TTL":                  {unix.IPPROTO_IP, unix.IP_TTL},
		"IP_FREEBIND":             {unix.IPPROTO_IP, unix.IP_FREEBIND},
		"IPV6_UNICAST_HOPS":       {unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS},
		"IP_BIND_ADDRESS_NO_PORT": {unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT},
	}
}

// readOptions returns the options of a socket; a negative number is an errno.
func readOptions(t *testing.T, c syscall.Conn) map[string]int {
	t.Helper()
	got := make(map[string]int)
	err := listener.Control([]syscall.Conn{c}, func(fds []int) error {
		for name, o := range options() {
			v, err := unix.GetsockoptInt(fds[0], o.level, o.opt)
			if errno, ok := err.(syscall.Errno); ok {
				v = -int(errno)
			}
			got[name] = v
		}
		flags, err := unix.FcntlInt(uintptr(fds[0]), unix.F_GETFL, 0)
		got["F_GETFL"] = flags
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func compareOptions(t *testing.T, what string, fresh, inherited map[string]int) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(fresh)) {
		if fresh[name] != inherited[name] {
			t.Errorf("%s: %s is %d fresh, %d inherited", what, name, fresh[name], inherited[name])
		}
	}
}

func listenConfigs() map[string]*net.ListenConfig {
	control := func(_, _ string, c syscall.RawConn) error {
		var err error
		cerr := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
			if err == nil {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<15)
			}
			// These fail for other sockets than TCP.
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 77)
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 5)
		})
		if cerr != nil {
			return cerr
		}
		return err
	}
	plainTCP, multipath := new(net.ListenConfig), &net.ListenConfig{KeepAlive: -1}
	plainTCP.SetMultipathTCP(false)
	multipath.SetMultipathTCP(true)
	return map[string]*net.ListenConfig{
		"nil":      nil,
		"plain":    plainTCP,
		"mptcp":    multipath,
		"off":      {KeepAlive: -1},
		"period":   {KeepAlive: 40 * time.Second},
		"config":   {KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 50 * time.Second, Interval: 7 * time.Second, Count: 3}},
		"system":   {KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: -1, Interval: -1, Count: -1}},
		"mixed":    {KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: -1, Interval: 9 * time.Second}},
		"control":  {Control: control},
		"both":     {Control: control, KeepAlive: -1},
		"controls": {Control: control, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: -1, Interval: -1, Count: -1}},
	}
}

// TestOptions compares every option of sockets and accepted connections, fresh
// and inherited.
func TestOptions(t *testing.T) {
	t.Parallel()
	for name, lc := range listenConfigs() {
		for _, a := range addresses(t) {
			t.Run(name+" "+a.network+" "+filepath.Base(a.address), func(t *testing.T) {
				t.Parallel()
				first := newSet(t)
				first.ListenConfig = lc
				_, c := mustOpen(t, first, a.network, a.address)
				fresh := readOptions(t, c.(syscall.Conn))
				var accepted map[string]int
				if ln, ok := c.(net.Listener); ok {
					accepted = acceptOptions(t, a.network, ln)
				}

				second := successor(t, first)
				second.ListenConfig = lc
				_, c = mustOpen(t, second, a.network, a.address)
				compareOptions(t, "socket", fresh, readOptions(t, c.(syscall.Conn)))
				if ln, ok := c.(net.Listener); ok {
					compareOptions(t, "connection", accepted, acceptOptions(t, a.network, ln))
				}
			})
		}
	}
}

func acceptOptions(t *testing.T, network string, ln net.Listener) map[string]int {
	t.Helper()
	client, err := net.Dial(network, ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return readOptions(t, c.(syscall.Conn))
}

// TestInheritedListenerType wants the plain type where no wrapper is needed, and
// the methods of *net.TCPListener in any case.
func TestInheritedListenerType(t *testing.T) {
	t.Parallel()
	for name, lc := range listenConfigs() {
		first := newSet(t)
		mustOpen(t, first, "tcp", "127.0.0.1:0")
		second := successor(t, first)
		second.ListenConfig = lc
		_, c := mustOpen(t, second, "tcp", "127.0.0.1:0")
		ln, ok := c.(interface {
			net.Listener
			SetDeadline(time.Time) error
			AcceptTCP() (*net.TCPConn, error)
		})
		if !ok {
			t.Fatalf("%s: %T", name, c)
		}
		if lc == nil || lc.KeepAlive == 0 && !lc.KeepAliveConfig.Enable {
			if _, ok := c.(*net.TCPListener); !ok {
				t.Errorf("%s: %T", name, c)
			}
		}
		// It is still non-blocking: else Accept would ignore the deadline.
		ln.SetDeadline(time.Now())
		if conn, err := ln.Accept(); conn != nil || err == nil || !err.(net.Error).Timeout() {
			t.Errorf("%s: Accept = %v, %v", name, conn, err)
		}
	}
}
