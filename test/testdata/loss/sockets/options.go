//go:build linux

package main

import (
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// describe returns the options of a socket, those that it has.
func describe(fd int) string {
	options := []struct {
		name          string
		level, option int
	}{
		{"type", unix.SOL_SOCKET, unix.SO_TYPE},
		{"domain", unix.SOL_SOCKET, unix.SO_DOMAIN},
		{"accepts", unix.SOL_SOCKET, unix.SO_ACCEPTCONN},
		{"reuseaddr", unix.SOL_SOCKET, unix.SO_REUSEADDR},
		{"reuseport", unix.SOL_SOCKET, unix.SO_REUSEPORT},
		{"broadcast", unix.SOL_SOCKET, unix.SO_BROADCAST},
		{"priority", unix.SOL_SOCKET, unix.SO_PRIORITY},
		{"rcvbuf", unix.SOL_SOCKET, unix.SO_RCVBUF},
		{"sndbuf", unix.SOL_SOCKET, unix.SO_SNDBUF},
		{"keepalive", unix.SOL_SOCKET, unix.SO_KEEPALIVE},
		{"keepidle", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
		{"keepintvl", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
		{"keepcnt", unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
		{"nodelay", unix.IPPROTO_TCP, unix.TCP_NODELAY},
		{"usertimeout", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT},
		{"v6only", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY},
	}
	var b strings.Builder
	for _, o := range options {
		if v, err := unix.GetsockoptInt(fd, o.level, o.option); err == nil {
			fmt.Fprintf(&b, "%s=%d ", o.name, v)
		}
	}
	status, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	flags, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	fmt.Fprintf(&b, "nonblock=%t cloexec=%t", status&unix.O_NONBLOCK != 0, flags&unix.FD_CLOEXEC != 0)
	return b.String()
}

// tunedConfig sets options to what nobody has by default.
func tunedConfig() *net.ListenConfig {
	return &net.ListenConfig{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 77 * time.Second, Interval: 11 * time.Second, Count: 3},
		Control: func(network, _ string, rc syscall.RawConn) (err error) {
			cerr := rc.Control(func(fd uintptr) {
				if err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PRIORITY, 5); err == nil {
					err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 50_000)
				}
				if err == nil && strings.HasPrefix(network, "tcp") {
					err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 33_000)
				}
			})
			if cerr != nil {
				return cerr
			}
			return err
		},
	}
}
