//go:build linux || freebsd

package listener

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// socketKeepAlive returns the options of the listening socket itself. One that
// cannot be read (older kernels refuse some for MPTCP) is left negative, which
// means no change.
func socketKeepAlive(ln *net.TCPListener) net.KeepAliveConfig {
	config := net.KeepAliveConfig{Idle: -1, Interval: -1, Count: -1}
	raw, err := ln.SyscallConn()
	if err != nil {
		return config
	}
	raw.Control(func(fd uintptr) {
		if v, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE); err == nil {
			config.Enable = v != 0
		}
		if v, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE); err == nil {
			config.Idle = time.Duration(v) * time.Second
		}
		if v, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPINTVL); err == nil {
			config.Interval = time.Duration(v) * time.Second
		}
		if v, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPCNT); err == nil {
			config.Count = v
		}
	})
	return config
}
