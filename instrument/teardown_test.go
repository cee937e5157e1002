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
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
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

// The resolver takes away the address that is connected to, and gives another.
func TestAddressRemoved(t *testing.T) {
	env := newEnvironment(t)
	one, two := env.serve("S1"), env.serve("S2")
	r, option := addresses(one.address)
	cc := env.dial("static:///moving", option)
	env.connect(cc)
	r.UpdateState(endpoints(two.address))
	awaitKind[event.TransportReady](env, 2)
	env.gone()
	env.golden()
}

// One of two endpoints of round_robin is taken away.
func TestEndpointRemoved(t *testing.T) {
	env := newEnvironment(t)
	one, two := env.serve("S1"), env.serve("S2")
	r, option := addresses(one.address, two.address)
	cc := env.dial("static:///fewer", option, grpc.WithDefaultServiceConfig(roundRobin))
	env.connect(cc)
	awaitKind[event.TransportReady](env, 2)
	r.UpdateState(endpoints(one.address))
	env.gone()
	env.golden()
}

// unwrapped is addresses with a resolver that redial does not see.
func unwrapped(all ...string) (*manual.Resolver, grpc.DialOption) {
	r := manual.NewBuilderWithScheme("unwrapped")
	r.InitialState(endpoints(all...))
	return r, grpc.WithResolvers(r)
}

// causesOf returns why the transports to an address ended.
func (env *environment) causesOf(address string) (causes []event.Cause) {
	for _, e := range env.recorded() {
		if e, ok := e.(event.TransportEnded); ok && e.Conn.Remote == address {
			causes = append(causes, e.Cause)
		}
	}
	return causes
}

// Redial took the loss of an endpoint for the policy's wish where a resolver gave the addresses that is not wrapped:
// the children of round_robin see their own address and no other.
func TestEndpointRemovedByUnwrappedResolver(t *testing.T) {
	for name, staying := range map[string]bool{"OneOfTwo": true, "All": false} {
		t.Run(name, func(t *testing.T) {
			env := newEnvironment(t)
			gone, other := env.serve("S1").address, env.serve("S2").address
			first := []string{gone}
			if staying {
				first = append(first, other)
			}
			r, option := unwrapped(first...)
			cc := env.dial("unwrapped:///fewer", option, grpc.WithDefaultServiceConfig(roundRobin))
			env.connect(cc)
			awaitKind[event.TransportReady](env, len(first))
			r.UpdateState(endpoints(other))
			env.gone()
			if causes := env.causesOf(gone); !slices.Equal(causes, []event.Cause{event.CauseAddressRemoved}) {
				t.Errorf("the transport to the address that was removed ended by %v, want address_removed", causes)
			}
			env.closeAll()
			env.shutdown()
		})
	}
}

// Another policy takes over the addresses that a resolver gave that is not wrapped: none was removed.
func TestPolicyReplacedBelowUnwrappedResolver(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	r, option := unwrapped(srv.address)
	cc := env.dial("unwrapped:///replaced", option, grpc.WithDefaultServiceConfig(roundRobin))
	env.connect(cc)
	state := endpoints(srv.address)
	state.ServiceConfig = r.CC().ParseServiceConfig(`{"loadBalancingConfig": [{"pick_first": {}}]}`)
	r.UpdateState(state)
	awaitKind[event.TransportReady](env, 2)
	env.gone()
	if causes := env.causesOf(srv.address); !slices.Equal(causes, []event.Cause{event.CauseLBPolicy}) {
		t.Errorf("the replaced policy's transport ended by %v, want lb_policy", causes)
	}
	env.closeAll()
	env.shutdown()
}

// An answer without addresses was a resolution that succeeded, and what it took away the policy's wish.
func TestNoAddresses(t *testing.T) {
	for name, of := range map[string]struct {
		resolver func(...string) (*manual.Resolver, grpc.DialOption)
		policy   string
		seen     bool
		cause    event.Cause
	}{
		"PickFirst":           {addresses, "pick_first", true, event.CauseAddressRemoved},
		"RoundRobin":          {addresses, "round_robin", true, event.CauseAddressRemoved},
		"PickFirstUnwrapped":  {unwrapped, "pick_first", true, event.CauseAddressRemoved},
		"RoundRobinUnwrapped": {unwrapped, "round_robin", false, event.CauseUnknown}, // It closes all that redial sees.
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnvironment(t)
			srv := env.serve("S1")
			r, option := of.resolver(srv.address)
			cc := env.dial(r.Scheme()+":///none", option,
				grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"`+of.policy+`": {}}]}`))
			env.connect(cc)
			r.UpdateState(resolver.State{})
			env.gone()
			if err := call(cc); status.Code(err) != codes.Unavailable {
				t.Errorf("an RPC to nobody: %v", err)
			}
			env.closeAll()
			env.shutdown()
			if causes := env.causesOf(srv.address); !slices.Equal(causes, []event.Cause{of.cause}) {
				t.Errorf("the transport ended by %v, want %v", causes, of.cause)
			}
			var failed, refused []string
			for _, e := range env.recorded() {
				switch e := e.(type) {
				case event.Resolved:
					if e.Outcome == event.OutcomeFailed {
						failed = append(failed, e.ErrorType)
					}
				case event.RPCRefused:
					refused = append(refused, e.ErrorType)
				}
			}
			want := []string{failure.NameResolution}
			if of.seen && !slices.Equal(failed, want) {
				t.Errorf("resolutions failed by %q, want %q", failed, want)
			}
			if of.seen && !slices.Equal(refused, want) {
				t.Errorf("RPCs were refused for %q, want %q", refused, want)
			}
		})
	}
}

// A new service config replaces the policy.
func TestPolicyReplaced(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	r, option := addresses(srv.address)
	cc := env.dial("static:///replaced", option)
	env.connect(cc)
	state := endpoints(srv.address)
	state.ServiceConfig = r.CC().ParseServiceConfig(roundRobin)
	r.UpdateState(state)
	awaitKind[event.TransportReady](env, 2)
	env.gone()
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
