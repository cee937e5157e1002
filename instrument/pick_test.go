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
func (s *scene) rpc(ctx context.Context, name string, cc *grpc.ClientConn, opts ...grpc.CallOption) error {
	ctx, span := s.tracer.Tracer("scene").Start(ctx, name)
	defer span.End()
	return callWith(ctx, cc, opts...)
}

// rpcInBackground returns a function that waits for the RPC's error.
func (s *scene) rpcInBackground(ctx context.Context, name string, cc *grpc.ClientConn, opts ...grpc.CallOption) (wait func() error) {
	done := make(chan error, 1)
	go func() { done <- s.rpc(ctx, name, cc, opts...) }()
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
	s := newScene(t)
	srv, g := s.serve("S1"), make(gate)
	cc := s.dial(srv.address, grpc.WithContextDialer(g.dial))
	wait := s.rpcInBackground(context.Background(), "RPC", cc)
	awaitKind[event.PickWaitStarted](s, 1)
	close(g)
	wantCode(t, wait(), codes.OK)
	s.golden()
}

// An RPC that does not wait has nothing added to it.
func TestNoWait(t *testing.T) {
	s := newScene(t)
	srv := s.serve("S1")
	cc := s.dial(srv.address)
	s.connect(cc)
	wantCode(t, s.rpc(context.Background(), "RPC", cc), codes.OK)
	s.golden()
}

// In TRANSIENT_FAILURE a fail-fast RPC is refused at once: its span links to the episode that failed it.
func TestFailFast(t *testing.T) {
	s := newScene(t)
	cc := s.dial(s.freeAddress("DEAD"), grpc.WithConnectParams(grpc.ConnectParams{Backoff: slowBackoff}))
	cc.Connect()
	s.awaitState(cc, connectivity.TransientFailure)
	wantCode(t, s.rpc(context.Background(), "RPC", cc), codes.Unavailable)
	s.golden()
}

// A fail-fast RPC that waits while the channel connects is refused when that fails.
func TestFailFastWhileConnecting(t *testing.T) {
	s := newScene(t)
	g := make(gate)
	cc := s.dial(s.freeAddress("DEAD"), grpc.WithConnectParams(grpc.ConnectParams{Backoff: slowBackoff}), grpc.WithContextDialer(g.dial))
	wait := s.rpcInBackground(context.Background(), "RPC", cc)
	awaitKind[event.PickWaitStarted](s, 1)
	close(g)
	wantCode(t, wait(), codes.Unavailable)
	s.awaitState(cc, connectivity.TransientFailure)
	s.golden()
}

// In TRANSIENT_FAILURE a wait-for-ready RPC waits until the server is back.
func TestWaitForReady(t *testing.T) {
	s := newScene(t)
	srv := s.serve("S1")
	srv.stop()
	cc := s.dial(srv.address)
	cc.Connect()
	s.awaitState(cc, connectivity.TransientFailure)
	wait := s.rpcInBackground(context.Background(), "RPC", cc, grpc.WaitForReady(true))
	awaitKind[event.PickWaitStarted](s, 1)
	srv.start()
	wantCode(t, wait(), codes.OK)
	s.closeAll()
	defer s.shutdown()
	wait1 := s.only("grpc.pick.wait")
	if wait1.Parent().SpanID() != s.only("RPC").SpanContext().SpanID() {
		t.Error("the wait is not below its RPC")
	}
	if links := wait1.Links(); len(links) != 1 || links[0].SpanContext.SpanID() != s.only("grpc.connect").SpanContext().SpanID() {
		t.Errorf("the wait links to %v, want the episode", links)
	}
}

// The deadline passes while the RPC waits.
func TestDeadlineWhileWaiting(t *testing.T) {
	s := newScene(t)
	cc := s.dial(s.freeAddress("DEAD"), grpc.WithConnectParams(grpc.ConnectParams{Backoff: slowBackoff}))
	cc.Connect()
	s.awaitState(cc, connectivity.TransientFailure)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	wantCode(t, s.rpc(ctx, "RPC", cc, grpc.WaitForReady(true)), codes.DeadlineExceeded)
	s.golden()
}

// The caller gives up while the RPC waits.
func TestCancelWhileWaiting(t *testing.T) {
	s := newScene(t)
	cc := s.dial(s.freeAddress("DEAD"), grpc.WithConnectParams(grpc.ConnectParams{Backoff: slowBackoff}))
	cc.Connect()
	s.awaitState(cc, connectivity.TransientFailure)
	ctx, cancel := context.WithCancel(context.Background())
	wait := s.rpcInBackground(ctx, "RPC", cc, grpc.WaitForReady(true))
	awaitKind[event.PickWaitStarted](s, 1)
	cancel()
	wantCode(t, wait(), codes.Canceled)
	s.golden()
}

// ClientConn.Close while an RPC waits.
func TestCloseWhileWaiting(t *testing.T) {
	s := newScene(t)
	cc := s.dial(s.freeAddress("DEAD"), grpc.WithConnectParams(grpc.ConnectParams{Backoff: slowBackoff}))
	cc.Connect()
	s.awaitState(cc, connectivity.TransientFailure)
	wait := s.rpcInBackground(context.Background(), "RPC", cc, grpc.WaitForReady(true))
	awaitKind[event.PickWaitStarted](s, 1)
	s.closeAll()
	wantCode(t, wait(), codes.Canceled)
	s.golden()
}

// An RPC that dies with its transport has the cause noted on its span.
func TestRPCKilled(t *testing.T) {
	s := newScene(t)
	cc := s.dial(s.raw("S1", h2(t, 1, func(c net.Conn, _ *http2.Framer) error {
		return c.(*net.TCPConn).CloseWrite()
	})))
	s.connect(cc)
	wantCode(t, s.rpc(context.Background(), "RPC", cc), codes.Unavailable)
	s.lost(cc)
	s.golden()
}
