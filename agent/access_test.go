package agent_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redial-dev/redial/agent"
)

// request sends a request over a connection and returns the answer's status line, or the error.
func request(conn net.Conn, path string) string {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err.Error()
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path); err != nil {
		return err.Error()
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err.Error()
	}
	return resp.Status
}

// A neighbour that opens connections and rests keeps nobody out, and holds few files: a new connection takes the place
// of the one that rested longest.
func TestRestingConnections(t *testing.T) {
	for name, rest := range map[string]func(net.Conn) string{
		"silent": func(net.Conn) string { return "200 OK" },
		"idle":   func(c net.Conn) string { return request(c, "/healthz") },
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t, agent.WithListen("127.0.0.1:0"))
			var all []net.Conn
			connect := func() net.Conn {
				c, err := net.Dial("tcp", a.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = c.Close() })
				all = append(all, c)
				return c
			}
			for i := range 3 * agent.MaxConns {
				if status := rest(connect()); status != "200 OK" {
					t.Fatalf("connection %d: %s", i+1, status)
				}
			}
			if status := request(connect(), "/healthz"); status != "200 OK" {
				t.Errorf("after %d connections that rest: %s", len(all)-1, status)
			}
			closed := 0
			for _, c := range all[:2*agent.MaxConns] {
				if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
					t.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, c); err == nil || !err.(net.Error).Timeout() {
					closed++
				}
			}
			if closed != 2*agent.MaxConns {
				t.Errorf("%d of the oldest %d connections are closed", closed, 2*agent.MaxConns)
			}
		})
	}
}

// Connections that are busy are not closed for others, which are refused.
func TestBusyConnections(t *testing.T) {
	var conns agent.Conns
	pairs := []net.Conn{}
	open := func() net.Conn {
		here, there := net.Pipe()
		t.Cleanup(func() { _, _ = here.Close(), there.Close() })
		conns.Changed(here, http.StateNew)
		pairs = append(pairs, there)
		return here
	}
	for range agent.MaxConns {
		conns.Changed(open(), http.StateActive)
	}
	open()
	for i, c := range pairs {
		err := c.SetReadDeadline(time.Now()) // An error of a pipe whose other end is closed.
		if closed, want := err != nil, i == agent.MaxConns; closed != want {
			t.Errorf("connection %d is closed: %v, want %v", i+1, closed, want)
		}
	}
}

// Slow readers pin a bounded number of answers. What is above that is refused at once.
func TestConcurrentAnswers(t *testing.T) {
	release, begun := make(chan struct{}), make(chan struct{})
	h := agent.Limited(agent.MaxAnswers, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		begun <- struct{}{}
		<-release
	}))
	var answers sync.WaitGroup
	for range agent.MaxAnswers {
		answers.Go(func() { get(h, "/") })
		<-begun
	}
	w := get(h, "/")
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("answer %d is %d %s", agent.MaxAnswers+1, w.Code, w.Body)
	}
	close(release)
	answers.Wait()
	go func() { <-begun }()
	if w := get(h, "/"); w.Code != http.StatusOK {
		t.Errorf("after the others ended: %d %s", w.Code, w.Body)
	}
}

// No answer may be framed, sniffed, kept, or run scripts.
func TestHeaders(t *testing.T) {
	a := start(t)
	for _, path := range []string{"/metrics", "/healthz", "/debug/redial/api/v1/channels", "/nothing"} {
		h := get(a.Handler(), path).Header()
		for name, want := range map[string]string{
			"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
		} {
			if have := h.Get(name); have != want {
				t.Errorf("%s: %s is %q, want %q", path, name, have, want)
			}
		}
	}
}

// What net/http has to say goes to otel.Handle, once a minute, and not to the program's standard error.
func TestServerLog(t *testing.T) {
	reports := newReports(t)
	log := agent.ServerLog(t)
	for range 100 {
		log.Printf("http: Accept error: too many open files; retrying in 1s")
	}
	errs := reports.own()
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), "too many open files") {
		t.Errorf("reported: %v, want one", errs)
	}
}

// A method that changes something is refused wherever the handler is mounted.
func TestMounted(t *testing.T) {
	a, mux := start(t), http.NewServeMux()
	mux.Handle("/debug/redial/", a.Handler())
	srv := httptest.NewServer(mux)
	defer srv.Close()
	resp, err := http.Post(srv.URL+"/debug/redial/api/v1/dump", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST is answered with %s", resp.Status)
	}
}

// The agent answers to the name on which it listens. (In capitals, it is a name that nothing else allows.)
func TestNameListenedOn(t *testing.T) {
	a := start(t, agent.WithListen("LOCALHOST:0"))
	for host, want := range map[string]int{"LOCALHOST": http.StatusOK, "attacker.example": http.StatusForbidden} {
		r, w := httptest.NewRequest(http.MethodGet, "/metrics", nil), httptest.NewRecorder()
		r.Host = host
		a.Handler().ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("the host %s is answered with %d, want %d", host, w.Code, want)
		}
	}
}
