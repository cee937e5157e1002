package agent

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// maxAnswers bounds the answers that are written at once, of metrics and of the API each: one takes up to the journal's
// size in memory, for as long as its reader is slow.
const maxAnswers = 8

// allowedHosts are the names by which the agent may be requested, beside localhost and IP addresses.
type allowedHosts []string

func (hosts allowedHosts) has(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if host == "localhost" || net.ParseIP(host) != nil {
		return true
	}
	return slices.ContainsFunc(hosts, func(allowed string) bool {
		return allowed == "*" || strings.EqualFold(allowed, host)
	})
}

// guarded refuses hosts that nobody allowed: a web page can make a name of its own point at this listener (DNS
// rebinding) and read what that name answers. It also refuses queries that do not parse.
func (hosts allowedHosts) guarded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !hosts.has(r.Host) {
			fail(rw, http.StatusForbidden,
				fmt.Errorf("host %q: not allowed, see REDIAL_ALLOWED_HOSTS or WithAllowedHosts", r.Host))
			return
		}
		if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
			fail(rw, http.StatusBadRequest, fmt.Errorf("query %q: %w", r.URL.RawQuery, err))
			return
		}
		h.ServeHTTP(rw, r)
	})
}

// limited refuses what would be more answers at once than so many.
func limited(n int, h http.Handler) http.Handler {
	slots := make(chan struct{}, n)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			h.ServeHTTP(rw, r)
		default:
			rw.Header().Set("Retry-After", "1")
			fail(rw, http.StatusServiceUnavailable, fmt.Errorf("%d answers are being written already", n))
		}
	})
}

// private keeps answers out of caches and frames, and scripts out of answers.
func private(h http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		header := rw.Header()
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.ServeHTTP(rw, r)
	})
}
