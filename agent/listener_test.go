package agent_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redial-dev/redial/agent"
)

// pipes is a listener whose connections are in memory, so that their time may be a test's.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	conn, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (p pipes) Close() error {
	close(p)
	return nil
}

func (pipes) Addr() net.Addr { return &net.TCPAddr{} }

// slowly runs a client of the agent's server, in time that passes by itself, and returns when the server closed the
// connection.
func slowly(t *testing.T, h http.HandlerFunc, client func(net.Conn)) (after time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		listener := make(pipes)
		shutdown := agent.Serve(listener, h)
		here, there := net.Pipe()
		begin := time.Now()
		listener <- there
		client(here)
		after = time.Since(begin)
		_ = here.Close() // A pipe's Close has no error.
		if err := shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return after
}

func answer(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "an answer") }

// A request that comes a byte a second is cut, whether it is the header or the body that is slow.
func TestSlowRequest(t *testing.T) {
	body := func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(w, r.Body); err == nil {
			t.Error("a slow body is read to its end")
		}
	}
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		begin string
	}{
		"header": {answer, "GET / HTTP/1.1\r\nHost: localhost\r\nX: "},
		"body":   {body, "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			after := slowly(t, c.serve, func(conn net.Conn) {
				go func() { _, _ = io.Copy(io.Discard, conn) }() // The server may say why.
				if _, err := io.WriteString(conn, c.begin); err != nil {
					t.Error(err)
				}
				for {
					if _, err := conn.Write([]byte("x")); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			})
			if after < agent.ReadTime || after > agent.ReadTime+2*time.Second {
				t.Errorf("a slow request is cut after %v, want %v", after, agent.ReadTime)
			}
		})
	}
}

// An answer that is not read is given up.
func TestSlowReader(t *testing.T) {
	var ended chan time.Duration
	large := func(w http.ResponseWriter, _ *http.Request) {
		begin := time.Now()
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				ended <- time.Since(begin)
				return
			}
		}
	}
	slowly(t, large, func(conn net.Conn) {
		ended = make(chan time.Duration, 1) // In the time of the connection.
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Error(err)
		}
		if after := <-ended; after != agent.WriteTime {
			t.Errorf("an answer that is not read is given up after %v, want %v", after, agent.WriteTime)
		}
	})
}

// A connection that rests is closed.
func TestRestedConnection(t *testing.T) {
	after := slowly(t, answer, func(conn net.Conn) {
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Error(err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Error(err)
		}
	})
	if after != agent.IdleTime {
		t.Errorf("a connection that rests is closed after %v, want %v", after, agent.IdleTime)
	}
}

// A header that is too large is refused with 431 before it is read to its end, and the connection closed.
func TestHugeHeader(t *testing.T) {
	a := start(t, agent.WithListen("127.0.0.1:0"))
	for size, want := range map[int]int{
		agent.MaxHeader / 2: http.StatusOK, 2 * agent.MaxHeader: http.StatusRequestHeaderFieldsTooLarge,
	} {
		conn, err := net.Dial("tcp", a.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n",
			strings.Repeat("x", size)); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != want || want != http.StatusOK && !resp.Close {
			t.Errorf("a header of %d bytes is answered with %s (closes: %t)", size, resp.Status, resp.Close)
		}
	}
}
