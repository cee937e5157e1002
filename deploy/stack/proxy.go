package main

import (
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// proxy is an HTTP proxy that opens tunnels (CONNECT), and refuses to while it is closed.
type proxy struct{ closed atomic.Bool }

// ServeHTTP implements [http.Handler].
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(w, "this proxy opens tunnels only (CONNECT)", http.StatusMethodNotAllowed)
		return
	}
	if p.closed.Load() {
		http.Error(w, "the proxy is closed", http.StatusServiceUnavailable)
		return
	}
	far, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(r.Context(), "tcp", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer far.Close()
	near, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer near.Close()
	if _, err := io.WriteString(near, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	go func() {
		defer far.Close() // What ends on one side ends on the other.
		_, _ = io.Copy(far, buffered)
	}()
	_, _ = io.Copy(near, far)
}
