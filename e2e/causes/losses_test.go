package causes

import (
	"io"
	"net"
	"os"
	"testing"

	"github.com/redial-dev/redial/e2e/internal/loopback"
	"github.com/redial-dev/redial/instrument/event"
)

// The kernel gives up a connection of which nothing is acknowledged. The sysctl makes it do so early.
func TestTimedOut(t *testing.T) {
	t.Parallel()
	if err := os.WriteFile("/proc/sys/net/ipv4/tcp_retries2", []byte("3"), 0o644); err != nil {
		t.Fatal(err)
	}
	env := newEnvironment(t)
	w := vethServer(t)
	cc := env.dial(w.server.address)
	env.ready()
	w.cut(t)
	_, wait := env.rpc(cc)
	e := env.lost()
	wait()
	if e.Cause != event.CauseTimedOut || e.Interrupted != 1 {
		t.Errorf("%s: want timed_out, and the RPC killed", e)
	}
}

// The server says GOAWAY before gRPC has reported that the connection is up: gRPC reports "unknown" then, and the
// socket shows no more.
func TestUnknown(t *testing.T) {
	t.Parallel()
	for range 200 {
		env := newEnvironment(t)
		address := loopback.Accept(t, func(c *net.TCPConn) error {
			_, err := c.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
			if err != nil {
				return err
			}
			_, _ = io.Copy(io.Discard, c)
			return c.Close()
		})
		cc := env.dial(address)
		e := env.lost()
		if err := cc.Close(); err != nil {
			t.Error(err)
		}
		if e.Cause == event.CauseUnknown {
			return
		}
	}
	t.Error("gRPC was never so late that the cause is unknown")
}
