package httpdrain_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// handler is the service of these tests.
func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-time.After(2 * time.Millisecond)
		if err := r.Context().Err(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		io.WriteString(w, "ok")
	})
	mux.HandleFunc("/long", func(w http.ResponseWriter, r *http.Request) {
		for range 10 {
			io.WriteString(w, "part ")
			http.NewResponseController(w).Flush()
			<-time.After(20 * time.Millisecond)
		}
		io.WriteString(w, "ok")
	})
	mux.HandleFunc("/talk", func(w http.ResponseWriter, r *http.Request) {
		nc, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer nc.Close()
		io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: talk\r\n\r\n")
		io.Copy(nc, buf)
	})
	return mux
}

type dial func() (net.Conn, *bufio.Reader, error)

// dialer returns a function that connects to addr, with TLS if it is given protocols.
func dialer(addr string, protos []string) dial {
	return func() (nc net.Conn, r *bufio.Reader, err error) {
		nc, err = net.Dial("tcp", addr)
		if err == nil && protos != nil {
			nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true, NextProtos: protos})
		}
		return nc, bufio.NewReader(nc), err
	}
}

func post(nc net.Conn, r *bufio.Reader) (again bool, err error) {
	if _, err := io.WriteString(nc, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"); err != nil {
		return false, err
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	return !resp.Close, expect(resp.Body, "ok")
}

func expect(r io.Reader, suffix string) error {
	b, err := io.ReadAll(r)
	if err == nil && !strings.HasSuffix(string(b), suffix) {
		err = fmt.Errorf("answer %q", b)
	}
	return err
}
