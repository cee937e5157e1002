//go:build linux

package instrument_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/redial-dev/redial/instrument/event"
)

// rpcDeadline is longer than the kernel's clock is inexact, on a machine that is busy.
const rpcDeadline = 300 * time.Millisecond

// noAnswer is what a server does that takes RPCs and answers none.
func noAnswer(net.Conn, *http2.Framer) error { return nil }

// noted returns the paths that are noted on an RPC's span.
func (env *environment) noted(name string) (paths []string) {
	for _, span := range env.spans.Ended() {
		for _, e := range span.Events() {
			if span.Name() != name || e.Name != "redial.deadline_exceeded" {
				continue
			}
			for _, kv := range e.Attributes {
				if kv.Key == "redial.path" {
					paths = append(paths, kv.Value.AsString())
				}
			}
		}
	}
	return paths
}

// A server takes an RPC and does not answer. The RPC's own span says so: the peer's kernel acknowledged the RPC, though
// its cancellation may still be on its way.
func TestServerDoesNotAnswer(t *testing.T) {
	env := newEnvironment(t)
	cc := env.dial(env.raw("S1", h2(t, 1, noAnswer)))
	env.connect(cc)
	ctx, cancel := context.WithTimeout(t.Context(), rpcDeadline)
	defer cancel()
	wantCode(t, env.rpc(ctx, "RPC", cc), codes.DeadlineExceeded)
	env.golden()
}

// An RPC that waited for its transport was sent when the transport was READY, and not when it began.
func TestServerDoesNotAnswerAfterWait(t *testing.T) {
	env := newEnvironment(t)
	opened := make(gate)
	cc := env.dial(env.raw("S1", h2(t, 1, noAnswer)), grpc.WithContextDialer(opened.dial))
	ctx, cancel := context.WithTimeout(t.Context(), 2*rpcDeadline)
	defer cancel()
	wait := env.rpcInBackground(ctx, "RPC", cc, grpc.WaitForReady(true))
	awaitKind[event.PickWaitStarted](env, 1)
	close(opened)
	wantCode(t, wait(), codes.DeadlineExceeded)
	if paths := env.noted("RPC"); len(paths) != 1 || paths[0] != "acknowledged" {
		t.Errorf("the paths noted are %v", paths)
	}
	env.closeAll()
	env.shutdown()
}

// A server that answers an RPC with DEADLINE_EXCEEDED itself, and an RPC that dies before it is sent, say nothing of
// the path.
func TestDeadlineThatShowsNoPath(t *testing.T) {
	env := newEnvironment(t)
	answers := make(chan error, 1)
	srv := env.serve("S1", grpc.UnaryInterceptor(func(
		context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler,
	) (any, error) {
		return nil, <-answers
	}))
	cc := env.dial(srv.address)
	env.connect(cc)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, answer := range []error{
		status.Error(codes.DeadlineExceeded, "the database did not answer"), context.DeadlineExceeded,
	} {
		answers <- answer
		wantCode(t, env.rpc(ctx, "answered", cc), codes.DeadlineExceeded)
	}
	waiting := env.dial(env.freeAddress("nobody"))
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	wantCode(t, env.rpc(short, "waited", waiting, grpc.WaitForReady(true)), codes.DeadlineExceeded)
	for _, rpc := range []string{"answered", "waited"} {
		if paths := env.noted(rpc); len(paths) > 0 {
			t.Errorf("the RPC that %s has the paths %v", rpc, paths)
		}
	}
	env.closeAll()
	env.shutdown()
}

// deafen makes the kernel drop all that arrives for a connection, or no more: what it sends is not acknowledged, as on
// a path that lost packets for good. Its socket refuses packets with a lower TTL, and those of Linux have 64.
func deafen(t *testing.T, c *net.TCPConn, on bool) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	least := 0
	if on {
		least = 255
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MINTTL, least) })
	if err := errors.Join(err, set); err != nil {
		t.Fatal(err)
	}
}

// handingOut is a dialer that hands out its connections.
func handingOut() (grpc.DialOption, <-chan *net.TCPConn) {
	dialed := make(chan *net.TCPConn, 1)
	return grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			dialed <- c.(*net.TCPConn)
		}
		return c, err
	}), dialed
}

// acknowledged reports whether the peer has acknowledged all that a connection sent.
func acknowledged(t *testing.T, c *net.TCPConn) bool {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var info *unix.TCPInfo
	var asked error
	err = raw.Control(func(fd uintptr) { info, asked = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	if err := errors.Join(err, asked); err != nil {
		t.Fatal(err)
	}
	return info.Unacked == 0
}

// The path dies after the peer has acknowledged an RPC, so that the RPC's cancellation is on its way when its deadline
// has passed. The RPC itself was acknowledged, and the transport is stalled.
func TestCancellationIsLost(t *testing.T) {
	a := newAuthority(t)
	for name, c := range map[string]struct {
		server []grpc.ServerOption
		client grpc.DialOption
	}{
		"Plain": {nil, insecureOption},
		"TLS": {
			[]grpc.ServerOption{a.server("server.test", time.Now().Add(time.Hour))},
			grpc.WithTransportCredentials(a.client("server.test")),
		},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnvironment(t)
			asked := make(chan struct{})
			srv := env.serve("S1", append(c.server,
				grpc.StaticStreamWindowSize(1<<16), // Else the server pings, and the answers are on their way too.
				grpc.UnaryInterceptor(func(
					ctx context.Context, _ any, _ *grpc.UnaryServerInfo, _ grpc.UnaryHandler,
				) (any, error) {
					close(asked)
					<-ctx.Done()
					return nil, ctx.Err()
				}))...)
			dialer, dialed := handingOut()
			cc := env.dial(srv.address, dialer, c.client)
			env.connect(cc)
			conn := <-dialed
			ctx, cancel := context.WithTimeout(t.Context(), 4*rpcDeadline)
			defer cancel()
			rpc := env.rpcInBackground(ctx, "RPC", cc)
			<-asked
			wait(t, "the RPC is acknowledged", func() bool { return acknowledged(t, conn) })
			deafen(t, conn, true)
			wantCode(t, rpc(), codes.DeadlineExceeded)
			if paths := env.noted("RPC"); len(paths) != 1 || paths[0] != "acknowledged" {
				t.Errorf("the paths noted are %v", paths)
			}
			awaitKind[event.TransportStalled](env, 1)
			deafen(t, conn, false)
			awaitKind[event.TransportRecovered](env, 1)
			env.closeAll()
			env.shutdown()
		})
	}
}

// Packets vanish: gRPC takes the transport for READY, and only an RPC's deadline shows that it is not. It was to be
// seen in no signal.
func TestStalled(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	dialer, dialed := handingOut()
	cc := env.dial(srv.address, dialer)
	env.connect(cc)
	mustCall(t, cc)
	conn := <-dialed
	deafen(t, conn, true)
	ctx, cancel := context.WithTimeout(t.Context(), rpcDeadline)
	defer cancel()
	wantCode(t, env.rpc(ctx, "RPC", cc), codes.DeadlineExceeded)
	awaitKind[event.TransportStalled](env, 1)
	const gauge = "redial.transport.stalled"
	if n := env.collect()[gauge]; n != 1 {
		t.Errorf("%s is %d, want 1", gauge, n)
	}
	e := env.handler.Channels()[0].Endpoints[0]
	if e.State != event.StateReady || e.Stalled == nil || e.Subchannels[0].Stalled == nil {
		t.Errorf("the snapshot has %+v", e)
	}
	deafen(t, conn, false)
	awaitKind[event.TransportRecovered](env, 1)
	if n := env.collect()[gauge]; n != 0 {
		t.Errorf("%s is %d when the transport has recovered", gauge, n)
	}
	if e := env.handler.Channels()[0].Endpoints[0]; e.Stalled != nil || e.Subchannels[0].Stalled != nil {
		t.Errorf("the snapshot has %+v", e)
	}
	mustCall(t, cc)
	env.closeAll()
	var stalled, ended time.Duration
	for _, e := range env.recorded() {
		switch e := e.(type) {
		case event.TransportRecovered:
			stalled = e.Time.Sub(e.Start)
		case event.TransportEnded:
			ended = e.Stalled
		}
	}
	if stalled <= 0 || ended != stalled {
		t.Errorf("the transport was stalled for %v, and its end reports %v", stalled, ended)
	}
	env.shutdown()
}
