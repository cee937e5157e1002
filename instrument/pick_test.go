package instrument_test

import (
	"context"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"github.com/redial-dev/redial/instrument/event"
)

// rpc makes one RPC below a span of its own, which the scenario shows with all that redial adds to it.
func (env *environment) rpc(ctx context.Context, name string, cc *grpc.ClientConn, opts ...grpc.CallOption) error {
	ctx, span := env.tracer.Tracer("test").Start(ctx, name)
	defer span.End()
	return callWith(ctx, cc, opts...)
}

// rpcInBackground returns a function that waits for the RPC's error.
func (env *environment) rpcInBackground(
	ctx context.Context, name string, cc *grpc.ClientConn, opts ...grpc.CallOption,
) (wait func() error) {
	done := make(chan error, 1)
	go func() { done <- env.rpc(ctx, name, cc, opts...) }()
	return func() error { return <-done }
}

func wantCode(t *testing.T, err error, want codes.Code) {
	t.Helper()
	if status.Code(err) != want {
		t.Errorf("RPC: %v, want %v", err, want)
	}
}

// gate is a dialer that waits until it is opened.
type gate chan struct{}

func (g gate) dial(ctx context.Context, address string) (net.Conn, error) {
	select {
	case <-g:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

// An RPC waits while the channel connects, and is sent then.
func TestWaitForFirstConnection(t *testing.T) {
	env := newEnvironment(t)
	srv, g := env.serve("S1"), make(gate)
	cc := env.dial(srv.address, grpc.WithContextDialer(g.dial))
	wait := env.rpcInBackground(context.Background(), "RPC", cc)
	awaitKind[event.PickWaitStarted](env, 1)
	close(g)
	wantCode(t, wait(), codes.OK)
	env.golden()
}

// An RPC that does not wait has nothing added to it.
func TestNoWait(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	cc := env.dial(srv.address)
	env.connect(cc)
	wantCode(t, env.rpc(context.Background(), "RPC", cc), codes.OK)
	env.golden()
}

// In TRANSIENT_FAILURE a fail-fast RPC is refused at once: its span links to the episode that failed it.
func TestFailFast(t *testing.T) {
	env := newEnvironment(t)
	cc := env.dial(env.freeAddress("DEAD"), grpc.WithConnectParams(grpc.ConnectParams{Backoff: slowBackoff}))
	cc.Connect()
	env.awaitState(cc, connectivity.TransientFailure)
	wantCode(t, env.rpc(context.Background(), "RPC", cc), codes.Unavailable)
	env.golden()
}

// A fail-fast RPC that waits while the channel connects is refused when that fails.
func TestFailFastWhileConnecting(t *testing.T) {
	env := newEnvironment(t)
	g := make(gate)
	cc := env.dial(env.freeAddress("DEAD"),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: slowBackoff}), grpc.WithContextDialer(g.dial))
	wait := env.rpcInBackground(context.Background(), "RPC", cc)
	awaitKind[event.PickWaitStarted](env, 1)
	close(g)
	wantCode(t, wait(), codes.Unavailable)
	env.awaitState(cc, connectivity.TransientFailure)
	env.golden()
}

// In TRANSIENT_FAILURE a wait-for-ready RPC waits until the server is back.
func TestWaitForReady(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	srv.stop()
	cc := env.dial(srv.address)
	cc.Connect()
	env.awaitState(cc, connectivity.TransientFailure)
	wait := env.rpcInBackground(context.Background(), "RPC", cc, grpc.WaitForReady(true))
	awaitKind[event.PickWaitStarted](env, 1)
	srv.start()
	wantCode(t, wait(), codes.OK)
	env.closeAll()
	defer env.shutdown()
	wait1 := env.only("grpc.pick.wait")
	if wait1.Parent().SpanID() != env.only("RPC").SpanContext().SpanID() {
		t.Error("the wait is not below its RPC")
	}
	episode := env.only("grpc.connect").SpanContext().SpanID()
	if links := wait1.Links(); len(links) != 1 || links[0].SpanContext.SpanID() != episode {
		t.Errorf("the wait links to %v, want the episode", links)
	}
}

// The deadline passes while the RPC waits.
func TestDeadlineWhileWaiting(t *testing.T) {
	env := newEnvironment(t)
	cc := env.dial(env.freeAddress("DEAD"), grpc.WithConnectParams(grpc.ConnectParams{Backoff: slowBackoff}))
	cc.Connect()
	env.awaitState(cc, connectivity.TransientFailure)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	wantCode(t, env.rpc(ctx, "RPC", cc, grpc.WaitForReady(true)), codes.DeadlineExceeded)
	env.golden()
}

// The caller gives up while the RPC waits.
func TestCancelWhileWaiting(t *testing.T) {
	env := newEnvironment(t)
	cc := env.dial(env.freeAddress("DEAD"), grpc.WithConnectParams(grpc.ConnectParams{Backoff: slowBackoff}))
	cc.Connect()
	env.awaitState(cc, connectivity.TransientFailure)
	ctx, cancel := context.WithCancel(context.Background())
	wait := env.rpcInBackground(ctx, "RPC", cc, grpc.WaitForReady(true))
	awaitKind[event.PickWaitStarted](env, 1)
	cancel()
	wantCode(t, wait(), codes.Canceled)
	env.golden()
}

// ClientConn.Close while an RPC waits.
func TestCloseWhileWaiting(t *testing.T) {
	env := newEnvironment(t)
	cc := env.dial(env.freeAddress("DEAD"), grpc.WithConnectParams(grpc.ConnectParams{Backoff: slowBackoff}))
	cc.Connect()
	env.awaitState(cc, connectivity.TransientFailure)
	wait := env.rpcInBackground(context.Background(), "RPC", cc, grpc.WaitForReady(true))
	awaitKind[event.PickWaitStarted](env, 1)
	env.closeAll()
	wantCode(t, wait(), codes.Canceled)
	env.golden()
}

// An RPC that dies with its transport has the cause noted on its span.
func TestRPCKilled(t *testing.T) {
	env := newEnvironment(t)
	cc := env.dial(env.raw("S1", h2(t, 1, func(c net.Conn, _ *http2.Framer) error {
		return c.(*net.TCPConn).CloseWrite()
	})))
	env.connect(cc)
	wantCode(t, env.rpc(context.Background(), "RPC", cc), codes.Unavailable)
	env.lost(cc)
	env.golden()
}
