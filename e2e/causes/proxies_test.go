package causes

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/redial-dev/redial/e2e/internal/loopback"
	"github.com/redial-dev/redial/instrument/event"
)

// The HTTP CONNECT proxy of the environment does not let the client through, in each of these ways.
func TestProxyFails(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"refuses":              "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
		"wants credentials":    "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
		"speaks TLS":           "\x15\x03\x01\x00\x02\x02\x16",
		"closes":               "",
		"closes in mid-answer": "HTTP/1.1 200 Conn",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !isChild(t) {
				proxy := loopback.Accept(t, func(c *net.TCPConn) error {
					if _, err := c.Read(make([]byte, 4096)); err != nil {
						return err
					}
					_, err := io.WriteString(c, answer)
					return errors.Join(err, c.Close())
				})
				runChild(t, "HTTPS_PROXY=http://"+proxy, "NO_PROXY=") // net/http reads the environment once.
				recordType("proxy")
				return
			}
			checkProxyFailed(t)
		})
	}
}

// Nobody listens at the proxy: that is no refusal of the server.
func TestProxyMissing(t *testing.T) {
	t.Parallel()
	if !isChild(t) {
		runChild(t, "HTTPS_PROXY=http://"+loopback.FreeAddress(t), "NO_PROXY=")
		recordType("proxy")
		return
	}
	checkProxyFailed(t)
}

// checkProxyFailed holds that an attempt failed for its proxy, and that it names the server and the proxy.
func checkProxyFailed(t *testing.T) {
	t.Helper()
	env := newEnvironment(t)
	env.dial("dns:///service.test:443")
	e := env.failed()
	if e.ErrorType != "proxy" || e.Phase != event.PhaseDial {
		t.Errorf("%s: the type is %s", e, e.ErrorType)
	}
	if "http://"+e.Proxy != os.Getenv("HTTPS_PROXY") || e.Address != "service.test:443" {
		t.Errorf("%s: the server is %s, and the proxy %s", e, e.Address, e.Proxy)
	}
}

// The proxy never answers CONNECT, for which gRPC sets no deadline: what goes on shows where the attempt hangs.
func TestProxyHangs(t *testing.T) {
	t.Parallel()
	if !isChild(t) {
		proxy := loopback.Accept(t, func(c *net.TCPConn) error {
			_, _ = io.Copy(io.Discard, c) // Until the child is gone, which may be a RST.
			return c.Close()
		})
		runChild(t, "HTTPS_PROXY=http://"+proxy, "NO_PROXY=")
		return
	}
	env := newEnvironment(t)
	cc := env.dial("dns:///service.test:443")
	if e := await(env, func(e event.AttemptStarted) bool { return e.Proxy != "" }); e.Address != "service.test:443" {
		t.Errorf("%s: the server is %s", e, e.Address)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_, err := healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("an RPC ended with %v", err)
	}
	if e := await(env, func(event.PickWaitEnded) bool { return true }); e.Reason != event.WaitConnecting {
		t.Errorf("%s: the reason is %s", e, e.Reason)
	}
}
