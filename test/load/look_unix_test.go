//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package load_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http/httptest"
	"testing"

	"github.com/gracerun/grace/test/load"
)

func TestLook(t *testing.T) {
	t.Parallel()
	srv := httptest.NewTLSServer(nil)
	defer srv.Close()
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", secure), func(t *testing.T) {
			t.Parallel()
			closed := make(chan bool, 1)
			target := bad(t, func(c net.Conn) {
				if secure {
					tc := tls.Server(c, srv.TLS)
					script(who)(tc)
					tc.CloseWrite() // the alert
				} else {
					script(who)(c)
				}
				fin(c.(*net.TCPConn))
				closed <- true
			})
			if secure {
				target.TLS = trust(srv)
			}
			k := &load.KeepAlive{Target: target, Look: true}
			defer k.Close()
			for i := range 3 {
				o := k.Do()
				if o.Failure != nil || !o.Dialed || o.IdleClosed != (i > 0) {
					t.Fatalf("request %d: %+v", i, o)
				}
				<-closed
			}
		})
	}
}
