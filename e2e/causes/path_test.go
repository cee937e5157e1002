package causes

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	otelcodes "go.opentelemetry.io/otel/codes"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/redial-dev/redial/e2e/internal/loopback"
	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/snapshot"
)

// longDeadline is long enough for the kernel to send in vain twice, and shortDeadline is not.
const (
	longDeadline  = 2 * time.Second
	shortDeadline = 100 * time.Millisecond
)

// patiently dials so that the kernel does not give the connection up: TestTimedOut makes it do so early for all others.
// It hands the connection out.
func patiently(address string) (grpc.DialOption, <-chan *net.TCPConn) {
	dialed := make(chan *net.TCPConn, 1)
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var set error
		err := c.Control(func(fd uintptr) {
			set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(testTimeout.Milliseconds()))
		})
		return errors.Join(err, set)
	}}
	return dialing(func(ctx context.Context) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, "tcp", address)
		if err == nil {
			dialed <- c.(*net.TCPConn)
		}
		return c, err
	}), dialed
}

// patient is a channel to the server that is READY, and on whose connection, which it returns, nothing is on its way.
func (env *environment) patient(w *network) (*grpc.ClientConn, *net.TCPConn) {
	env.t.Helper()
	dialer, dialed := patiently(w.server.address)
	cc := env.dial(w.server.address, dialer)
	env.usable()
	conn := <-dialed
	awaitAcked(env.t, conn)
	return cc, conn
}

// timeOut makes an RPC below a span of its own, which must die of its deadline.
func (env *environment) timeOut(cc *grpc.ClientConn, deadline time.Duration) {
	env.t.Helper()
	ctx, cancel := context.WithTimeout(env.t.Context(), deadline)
	defer cancel()
	ctx, span := env.tracer.Tracer("app").Start(ctx, "rpc")
	defer span.End()
	_, err := healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{})
	if status.Code(err) != codes.DeadlineExceeded {
		env.t.Errorf("the RPC ended with %v", err)
	}
	span.SetStatus(otelcodes.Error, err.Error())
}

// endpoint describes the only one.
func (env *environment) endpoint() snapshot.Endpoint {
	env.t.Helper()
	channels := env.handler.Channels()
	if len(channels) != 1 || len(channels[0].Endpoints) != 1 {
		env.t.Fatalf("one channel with one endpoint expected: %+v", channels)
	}
	return channels[0].Endpoints[0]
}

// path returns the path that is noted on the span of the RPC that ended last.
func (env *environment) path() (path string) {
	for _, span := range env.spans.Ended() {
		for _, e := range span.Events() {
			for _, kv := range e.Attributes {
				if kv.Key == "redial.path" {
					path = kv.Value.AsString()
				}
			}
		}
	}
	return path
}

func (env *environment) stalled() event.TransportStalled {
	env.t.Helper()
	return await(env, func(event.TransportStalled) bool { return true })
}

// Packets vanish and there is no keepalive: gRPC takes the transport for READY, and every RPC dies of its deadline.
// When packets pass again, the transport lives on.
func TestPathDies(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	w := vethServer(t)
	cc, _ := env.patient(w)
	w.cutBoth(t)
	env.timeOut(cc, longDeadline)
	stalled := env.stalled()
	if e := env.endpoint(); e.State != event.StateReady || e.Stalled == nil || !e.Stalled.Equal(stalled.Start) {
		t.Errorf("the snapshot has %+v, %s", e, stalled)
	}
	w.restore(t)
	recovered := await(env, func(event.TransportRecovered) bool { return true })
	if e := env.endpoint(); e.State != event.StateReady || e.Stalled != nil {
		t.Errorf("the snapshot has %+v, %s", e, recovered)
	}
	trace := env.traces(cc)
	if e := env.lost(); e.Stalled != recovered.Time.Sub(stalled.Start) {
		t.Errorf("%s: %s, %s", e, stalled, recovered)
	}
	checkTrace(t, "path dies", trace)
}

// An RPC dies before the kernel can know that the path is dead. The transport is found to be stalled a little later.
func TestPathDeadLongerThanTheDeadline(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	w := vethServer(t)
	cc, _ := env.patient(w)
	w.cutBoth(t)
	env.timeOut(cc, shortDeadline)
	if path := env.path(); path != "unknown" {
		t.Errorf("the path is %s %v after it was cut", path, shortDeadline)
	}
	stalled := env.stalled()
	env.timeOut(cc, shortDeadline)
	if path := env.path(); path != "dead" {
		t.Errorf("the path is %s: %s", path, stalled)
	}
	if err := cc.Close(); err != nil {
		t.Error(err)
	}
	if e := env.expectCause(event.CauseChannelClosed); e.Stalled != e.Lost.Sub(stalled.Start) {
		t.Errorf("%s: %s", e, stalled)
	}
}

// The path dies after the server has acknowledged the RPC: the kernel knows it when the cancellation is lost.
func TestPathDiesBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	w := vethServer(t)
	cc, conn := env.patient(w)
	answered, wait := env.rpcFor(longDeadline, cc)
	<-answered
	awaitAcked(t, conn)
	w.cutBoth(t)
	wait()
	if path := env.path(); path != "acknowledged" {
		t.Errorf("the path is %s, though the RPC was acknowledged", path)
	}
	env.stalled()
}

// The path to the server alone dies. What the server sends again, since it gets no acknowledgement, still arrives, and
// the path was unknown as long as it did.
func TestPathToTheServerDies(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	w := vethServer(t)
	cc, _ := env.patient(w)
	answered, wait := env.rpcFor(longDeadline, cc)
	<-answered
	w.cut(t)
	env.timeOut(cc, shortDeadline)
	env.stalled()
	wait()
}

// The server's kernel acknowledges the RPC, and its application does not answer: the path is alive.
func TestServerIsSlow(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	address := loopback.Accept(t, func(c *net.TCPConn) error {
		return speakHTTP2(c, 1, func() error { return drain(c) })
	})
	cc := env.dial(address)
	env.usable()
	env.timeOut(cc, longDeadline)
	checkTrace(t, "server is slow", env.traces(cc))
	for _, e := range env.recorded() {
		if e, ok := e.(event.TransportStalled); ok {
			t.Errorf("the path was alive: %s", e)
		}
	}
}
