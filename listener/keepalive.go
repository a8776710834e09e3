package listener

import "net"

// A keepAliveListener applies a ListenConfig's keep-alive to the connections of
// an inherited listener. net.FileListener knows nothing of ListenConfig and
// gives every connection the default one.
type keepAliveListener struct {
	*net.TCPListener
	config net.KeepAliveConfig
}

// keepAlive returns an inherited ln such that its connections have the same
// options as those of a listener which lc opened.
func keepAlive(ln *net.TCPListener, lc *net.ListenConfig) net.Listener {
	config := lc.KeepAliveConfig
	switch {
	case config.Enable:
	case lc.KeepAlive == 0:
		return ln
	case lc.KeepAlive > 0:
		config = net.KeepAliveConfig{Enable: true, Idle: lc.KeepAlive}
	default:
		return &keepAliveListener{ln, socketKeepAlive(ln)}
	}
	// Negative means what the connection got from the listening socket, but by
	// the time it is accepted here that has given way to the default.
	system := socketKeepAlive(ln)
	if config.Idle < 0 {
		config.Idle = system.Idle
	}
	if config.Interval < 0 {
		config.Interval = system.Interval
	}
	if config.Count < 0 {
		config.Count = system.Count
	}
	return &keepAliveListener{ln, config}
}

func (l *keepAliveListener) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err // not a nil *net.TCPConn
	}
	return c, nil
}

// AcceptTCP ignores a failure to set the options, as package net does.
func (l *keepAliveListener) AcceptTCP() (*net.TCPConn, error) {
	c, err := l.TCPListener.AcceptTCP()
	if err != nil {
		return nil, err
	}
	c.SetKeepAliveConfig(l.config)
	return c, nil
}
