package instrument_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/redial-dev/redial/instrument/event"
)

// isDraining and isEnded match the events of a teardown.
func isDraining(e event.Event) bool { _, ok := e.(event.TransportDraining); return ok }
func isEnded(e event.Event) bool    { _, ok := e.(event.TransportEnded); return ok }

// gone waits until the first transport is gone.
func (env *environment) gone() {
	env.t.Helper()
	env.await(1, "a transport's end", isEnded)
}

// lost waits until the channel's transport is gone and the channel is idle.
func (env *environment) lost(cc *grpc.ClientConn) {
	env.t.Helper()
	env.awaitState(cc, connectivity.Idle)
	env.gone()
}

// The server closes connections that are older than some age: GOAWAY NO_ERROR, with nothing in flight.
func TestMaxConnectionAge(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1", grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: 200 * time.Millisecond}))
	cc := env.dial(srv.address)
	env.connect(cc)
	env.lost(cc)
	env.golden()
}

// The same with a stream in flight, that ends well in the time of grace: the transport drains before it is gone.
func TestMaxConnectionAgeWhileStreaming(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1", grpc.KeepaliveParams(keepalive.ServerParameters{
		MaxConnectionAge: 200 * time.Millisecond, MaxConnectionAgeGrace: patience,
	}))
	cc := env.dial(srv.address)
	env.connect(cc)
	ctx, cancel := context.WithCancel(context.Background())
	wait := env.streamWith(ctx, cc)
	env.await(1, "a draining transport", isDraining)
	cancel()
	if err := wait(); status.Code(err) != codes.Canceled {
		t.Errorf("the stream ended with %v", err)
	}
	env.lost(cc)
	env.golden()
}

// The time of grace passes: the server cuts the stream off, whose error quotes the GOAWAY's debug data.
func TestMaxConnectionAgeKillsStream(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1", grpc.KeepaliveParams(keepalive.ServerParameters{
		MaxConnectionAge: 200 * time.Millisecond, MaxConnectionAgeGrace: 200 * time.Millisecond,
	}))
	cc := env.dial(srv.address)
	env.connect(cc)
	if err := env.stream(cc)(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ended with %v", err)
	}
	env.lost(cc)
	env.golden()
}

// The server closes connections on which nothing happens.
func TestMaxConnectionIdle(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1", grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 200 * time.Millisecond}))
	cc := env.dial(srv.address)
	env.connect(cc)
	env.lost(cc)
	env.golden()
}

// h2 speaks enough HTTP/2 to be READY. Once it has read so many whole requests, and all that gRPC says besides, it
// does what then says: gRPC has nothing left to write then, so that the end comes in one way only.
func h2(t *testing.T, requests int, then func(c net.Conn, f *http2.Framer) error) func(net.Conn) {
	return func(c net.Conn) {
		if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
			t.Error(err)
			return
		}
		f := http2.NewFramer(c, c)
		if err := f.WriteSettings(); err != nil {
			t.Error(err)
			return
		}
		for whole, acked := 0, false; whole < requests || !acked; {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			switch frame := frame.(type) {
			case *http2.SettingsFrame:
				acked = acked || frame.IsAck()
			case *http2.DataFrame:
				if frame.StreamEnded() {
					whole++
				}
			}
		}
		if err := then(c, f); err != nil {
			t.Error(err)
		}
	}
}

// pinging is a client's option to ping.
var pinging = grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: time.Hour})

func TestTooManyPings(t *testing.T) {
	env := newEnvironment(t)
	drained := make(chan struct{})
	cc := env.dial(env.raw("S1", h2(t, 1, func(c net.Conn, f *http2.Framer) error {
		if err := f.WriteGoAway(1, http2.ErrCodeEnhanceYourCalm, []byte("too_many_pings")); err != nil {
			return err
		}
		<-drained // Else the kernel may know of the end before gRPC knows of the GOAWAY.
		return c.(*net.TCPConn).CloseWrite()
	})), pinging)
	env.connect(cc)
	done := make(chan error, 1)
	go func() { done <- call(cc) }()
	env.await(1, "a draining transport", isDraining)
	close(drained)
	if err := <-done; status.Code(err) != codes.Unavailable {
		t.Errorf("RPC: %v", err)
	}
	env.lost(cc)
	env.golden()
}

// A server says ENHANCE_YOUR_CALM for a reason of its own to a client that does not ping, and no RPC quotes its words:
// the cause was too_many_pings.
func TestEnhanceYourCalmWithoutPings(t *testing.T) {
	for name, c := range map[string]struct {
		options []grpc.DialOption
		want    event.Cause
	}{
		"NoKeepalive": {nil, event.CauseGoAway},
		"Keepalive":   {[]grpc.DialOption{pinging}, event.CauseTooManyPings},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnvironment(t)
			connected := make(chan struct{})
			address := env.raw("S1", h2(t, 0, func(c net.Conn, f *http2.Framer) error {
				<-connected
				if err := f.WriteGoAway(0, http2.ErrCodeEnhanceYourCalm, []byte("why")); err != nil {
					return err
				}
				_, _ = io.Copy(io.Discard, c) // Until the client closes, in whichever way.
				return nil
			}))
			cc := env.dial(address, c.options...)
			env.connect(cc)
			close(connected)
			env.gone()
			env.closeAll()
			env.shutdown()
			if causes := env.causesOf(address); !slices.Equal(causes, []event.Cause{c.want}) {
				t.Errorf("the transport ended by %v, want %s", causes, c.want)
			}
		})
	}
}

// The server says GOAWAY before it saw the RPC: gRPC sends it again, on another connection, and it succeeds.
func TestGoAwayUnseen(t *testing.T) {
	env := newEnvironment(t)
	leaving := env.raw("S1", h2(t, 1, func(c net.Conn, f *http2.Framer) error {
		if err := f.WriteGoAway(0, http2.ErrCodeNo, nil); err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, c) // Until the client closes, in whichever way.
		return nil
	}))
	staying := env.serve("S2")
	addresses := make(chan string, 2)
	addresses <- leaving
	addresses <- staying.address
	cc := env.dial("passthrough:///either", grpc.WithContextDialer(func(
		ctx context.Context, _ string,
	) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", <-addresses)
	}))
	env.connect(cc)
	mustCall(t, cc)
	env.gone()
	env.closeAll()
	defer env.shutdown()
	for _, e := range env.recorded() {
		if e, ok := e.(event.TransportEnded); ok && e.Conn.Remote == leaving &&
			(e.Cause != event.CauseGoAway || e.InFlight != 1 || e.Retried != 1 || e.Interrupted != 0) {
			t.Errorf("%s: in flight %d, retried %d, want one of each and none killed", e, e.InFlight, e.Retried)
		}
	}
}

// mute speaks enough HTTP/2 to be READY, and then reads and writes no more.
func mute(t *testing.T, c net.Conn) {
	if err := http2.NewFramer(c, c).WriteSettings(); err != nil {
		t.Error(err)
	}
}

// The peer stops reading: keepalive gives the connection up after 10 s, the least that gRPC allows, and 1 s.
func TestKeepaliveTimeout(t *testing.T) {
	env := newEnvironment(t)
	cc := env.dial(env.raw("S1", func(c net.Conn) { mute(t, c) }), grpc.WithKeepaliveParams(keepalive.ClientParameters{
		Time: 10 * time.Second, Timeout: time.Second, PermitWithoutStream: true,
	}))
	env.connect(cc)
	env.lost(cc)
	env.golden()
}

// callUntilLost makes RPCs that none is answered of, and waits until they failed and the transport is gone.
func (env *environment) callUntilLost(cc *grpc.ClientConn, n int) {
	env.t.Helper()
	errs := make(chan error)
	for range n {
		go func() { errs <- call(cc) }()
	}
	for range n {
		if err := <-errs; status.Code(err) != codes.Unavailable {
			env.t.Errorf("RPC: %v", err)
		}
	}
	env.lost(cc)
}

// RST in the middle of an RPC.
func TestResetWhileCalling(t *testing.T) {
	env := newEnvironment(t)
	cc := env.dial(env.raw("S1", h2(t, 1, func(c net.Conn, _ *http2.Framer) error {
		return errors.Join(c.(*net.TCPConn).SetLinger(0), c.Close())
	})))
	env.connect(cc)
	env.callUntilLost(cc, 1)
	env.golden()
}

// FIN in the middle of three RPCs.
func TestPeerClosesWhileCalling(t *testing.T) {
	env := newEnvironment(t)
	cc := env.dial(env.raw("S1", h2(t, 3, func(c net.Conn, _ *http2.Framer) error {
		return c.(*net.TCPConn).CloseWrite()
	})))
	env.connect(cc)
	env.callUntilLost(cc, 3)
	env.golden()
}

// The server breaks the protocol: gRPC closes the connection.
func TestProtocolError(t *testing.T) {
	env := newEnvironment(t)
	cc := env.dial(env.raw("S1", h2(t, 1, func(_ net.Conn, f *http2.Framer) error {
		f.AllowIllegalWrites = true
		return f.WriteWindowUpdate(0, 0)
	})))
	env.connect(cc)
	env.callUntilLost(cc, 1)
	env.golden()
}

// Streams of a real server that is stopped: how they end depends on what was on its way, but all are recorded.
func TestStreamsAtTeardown(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	cc := env.dial(srv.address)
	env.connect(cc)
	waits := []func() error{env.stream(cc), env.stream(cc), env.stream(cc)}
	srv.stop()
	for _, wait := range waits {
		if err := wait(); status.Code(err) != codes.Unavailable {
			t.Errorf("a stream ended with %v", err)
		}
	}
	env.lost(cc)
	env.closeAll()
	for _, e := range env.recorded() {
		ended, ok := e.(event.TransportEnded)
		if !ok {
			continue
		}
		if ended.Interrupted != 3 || ended.Cause != event.CausePeerClosed && ended.Cause != event.CauseConnectionReset {
			t.Errorf("%v: want 3 RPCs killed by peer_closed or connection_reset", ended)
		}
	}
	env.shutdown()
}

// idleSoon is long enough for a channel to be READY before it goes idle.
const idleSoon = 500 * time.Millisecond

// A transport that gRPC closed before it closed the policy, as it does when a channel becomes idle, was kept for good.
func TestTransportsOfIdleChannelsAreForgotten(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	var all []*grpc.ClientConn
	for range 20 {
		cc := env.dial(srv.address, grpc.WithIdleTimeout(100*time.Millisecond))
		all = append(all, cc)
		cc.Connect()
	}
	awaitKind[event.TransportEnded](env, len(all))
	for _, cc := range all {
		env.awaitUnobserved(cc, connectivity.Idle)
	}
	wait(t, "the transports are forgotten", func() bool { return !env.handler.Leaving() })
	env.closeAll()
	env.shutdown()
}

// A channel goes idle, and an RPC wakes it.
func TestIdleTimeoutAndWake(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	cc := env.dial(srv.address, grpc.WithIdleTimeout(idleSoon))
	env.connect(cc)
	env.lost(cc)
	env.connect(cc)
	env.golden()
}

// ClientConn.Close in each of the states.
func TestClose(t *testing.T) {
	t.Run("Idle", func(t *testing.T) {
		env := newEnvironment(t)
		env.dial(env.freeAddress("DEAD"))
		env.golden()
	})
	t.Run("Connecting", func(t *testing.T) {
		env := newEnvironment(t)
		dialing := make(chan struct{})
		env.dial(env.name("192.0.2.1:1", "SILENT"), grpc.WithContextDialer(func(
			ctx context.Context, _ string,
		) (net.Conn, error) {
			close(dialing)
			<-ctx.Done()
			return nil, ctx.Err()
		})).Connect()
		<-dialing
		awaitKind[event.AttemptStarted](env, 1)
		env.golden()
	})
	t.Run("Ready", func(t *testing.T) {
		env := newEnvironment(t)
		srv := env.serve("S1")
		cc := env.dial(srv.address)
		env.connect(cc)
		wait := env.stream(cc)
		env.closeAll()
		if err := wait(); status.Code(err) != codes.Canceled {
			t.Errorf("the stream ended with %v", err)
		}
		env.golden()
	})
	t.Run("TransientFailure", func(t *testing.T) {
		env := newEnvironment(t)
		env.failOnce(env.freeAddress("DEAD"))
	})
	t.Run("Lost", func(t *testing.T) {
		env := newEnvironment(t)
		srv := env.serve("S1")
		cc := env.dial(srv.address)
		env.connect(cc)
		srv.stop()
		env.lost(cc)
		env.golden()
	})
}

// heldBegin holds the first connection that begins, before redial sees it.
type heldBegin struct {
	doNothing
	first     sync.Once
	begins    chan struct{}
	withdrawn chan struct{}
}

func (h *heldBegin) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	h.first.Do(func() {
		close(h.begins)
		<-h.withdrawn
	})
	return ctx
}

// A connection whose subchannel is shut down before it begins was reported as one of a policy that is not observed.
func TestSubchannelIsShutDownBeforeItsConnectionBegins(t *testing.T) {
	env := newEnvironment(t)
	r, option := addresses(env.serve("S1").address)
	held := &heldBegin{begins: make(chan struct{}), withdrawn: make(chan struct{})}
	cc := env.dialWith("static:///one", insecureOption, option, grpc.WithStatsHandler(held), env.handler.DialOption())
	cc.Connect()
	<-held.begins
	r.UpdateState(endpoints(env.serve("S2").address))
	env.await(1, "SHUTDOWN", func(e event.Event) bool {
		s, ok := e.(event.SubchannelState)
		return ok && s.To == event.StateShutdown
	})
	close(held.withdrawn)
	env.awaitState(cc, connectivity.Ready)
	mustCall(t, cc)
	env.closeAll()
	if n := env.collect()["redial.transport.unattributed"]; n != 0 {
		t.Errorf("%d connections are reported as unattributed", n)
	}
	wait(t, "the transports are forgotten", func() bool { return !env.handler.Leaving() })
	env.shutdown()
}
