//go:build !linux && !freebsd

package listener

import "net"

// socketKeepAlive returns no change: what is not configured keeps the default.
func socketKeepAlive(*net.TCPListener) net.KeepAliveConfig {
	return net.KeepAliveConfig{Idle: -1, Interval: -1, Count: -1}
}
