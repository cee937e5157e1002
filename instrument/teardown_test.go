package instrument_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/redial-dev/redial/instrument/event"
)

// isDraining and isEnded match the events of a teardown.
func isDraining(e event.Event) bool { _, ok := e.(event.TransportDraining); return ok }
func isEnded(e event.Event) bool    { _, ok := e.(event.TransportEnded); return ok }

// gone waits until the first transport is gone.
func (s *scene) gone() {
	s.t.Helper()
	s.await(1, "a transport's end", isEnded)
}

// lost waits until the channel's transport is gone and the channel is idle.
func (s *scene) lost(cc *grpc.ClientConn) {
	s.t.Helper()
	s.awaitState(cc, connectivity.Idle)
	s.gone()
}

// The server closes connections that are older than some age: GOAWAY NO_ERROR, with nothing in flight.
func TestMaxConnectionAge(t *testing.T) {
	s := newScene(t)
	srv := s.serve("S1", grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: 200 * time.Millisecond}))
	cc := s.dial(srv.address)
	s.connect(cc)
	s.lost(cc)
	s.golden()
}

// The same with a stream in flight, that ends well in the time of grace: the transport drains before it is gone.
func TestMaxConnectionAgeWhileStreaming(t *testing.T) {
	s := newScene(t)
	srv := s.serve("S1", grpc.KeepaliveParams(keepalive.ServerParameters{
		MaxConnectionAge: 200 * time.Millisecond, MaxConnectionAgeGrace: patience,
	}))
	cc := s.dial(srv.address)
	s.connect(cc)
	ctx, cancel := context.WithCancel(context.Background())
	wait := s.streamWith(ctx, cc)
	s.await(1, "a draining transport", isDraining)
	cancel()
	if err := wait(); status.Code(err) != codes.Canceled {
		t.Errorf("the stream ended with %v", err)
	}
	s.lost(cc)
	s.golden()
}

// The time of grace passes: the server cuts the stream off, whose error quotes the GOAWAY's debug data.
func TestMaxConnectionAgeKillsStream(t *testing.T) {
	s := newScene(t)
	srv := s.serve("S1", grpc.KeepaliveParams(keepalive.ServerParameters{
		MaxConnectionAge: 200 * time.Millisecond, MaxConnectionAgeGrace: 200 * time.Millisecond,
	}))
	cc := s.dial(srv.address)
	s.connect(cc)
	if err := s.stream(cc)(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ended with %v", err)
	}
	s.lost(cc)
	s.golden()
}

// The server closes connections on which nothing happens.
func TestMaxConnectionIdle(t *testing.T) {
	s := newScene(t)
	srv := s.serve("S1", grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 200 * time.Millisecond}))
	cc := s.dial(srv.address)
	s.connect(cc)
	s.lost(cc)
	s.golden()
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

func TestTooManyPings(t *testing.T) {
	s := newScene(t)
	drained := make(chan struct{})
	cc := s.dial(s.raw("S1", h2(t, 1, func(c net.Conn, f *http2.Framer) error {
		if err := f.WriteGoAway(1, http2.ErrCodeEnhanceYourCalm, []byte("too_many_pings")); err != nil {
			return err
		}
		<-drained // Else the kernel may know of the end before gRPC knows of the GOAWAY.
		return c.(*net.TCPConn).CloseWrite()
	})))
	s.connect(cc)
	done := make(chan error, 1)
	go func() { done <- call(cc) }()
	s.await(1, "a draining transport", isDraining)
	close(drained)
	if err := <-done; status.Code(err) != codes.Unavailable {
		t.Errorf("RPC: %v", err)
	}
	s.lost(cc)
	s.golden()
}

// The server says GOAWAY before it saw the RPC: gRPC sends it again, on another connection, and it succeeds.
func TestGoAwayUnseen(t *testing.T) {
	s := newScene(t)
	leaving := s.raw("S1", h2(t, 1, func(c net.Conn, f *http2.Framer) error {
		if err := f.WriteGoAway(0, http2.ErrCodeNo, nil); err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, c) // Until the client closes, in whichever way.
		return nil
	}))
	staying := s.serve("S2")
	addresses := make(chan string, 2)
	addresses <- leaving
	addresses <- staying.address
	cc := s.dial("passthrough:///either", grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", <-addresses)
	}))
	s.connect(cc)
	mustCall(t, cc)
	s.gone()
	s.closeAll()
	defer s.shutdown()
	for _, e := range s.told() {
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
	s := newScene(t)
	cc := s.dial(s.raw("S1", func(c net.Conn) { mute(t, c) }), grpc.WithKeepaliveParams(keepalive.ClientParameters{
		Time: 10 * time.Second, Timeout: time.Second, PermitWithoutStream: true,
	}))
	s.connect(cc)
	s.lost(cc)
	s.golden()
}

// callUntilLost makes RPCs that none is answered of, and waits until they failed and the transport is gone.
func (s *scene) callUntilLost(cc *grpc.ClientConn, n int) {
	s.t.Helper()
	errs := make(chan error)
	for range n {
		go func() { errs <- call(cc) }()
	}
	for range n {
		if err := <-errs; status.Code(err) != codes.Unavailable {
			s.t.Errorf("RPC: %v", err)
		}
	}
	s.lost(cc)
}

// RST in the middle of an RPC.
func TestResetWhileCalling(t *testing.T) {
	s := newScene(t)
	cc := s.dial(s.raw("S1", h2(t, 1, func(c net.Conn, _ *http2.Framer) error {
		return errors.Join(c.(*net.TCPConn).SetLinger(0), c.Close())
	})))
	s.connect(cc)
	s.callUntilLost(cc, 1)
	s.golden()
}

// FIN in the middle of three RPCs.
func TestPeerClosesWhileCalling(t *testing.T) {
	s := newScene(t)
	cc := s.dial(s.raw("S1", h2(t, 3, func(c net.Conn, _ *http2.Framer) error {
		return c.(*net.TCPConn).CloseWrite()
	})))
	s.connect(cc)
	s.callUntilLost(cc, 3)
	s.golden()
}

// The server breaks the protocol: gRPC closes the connection.
func TestProtocolError(t *testing.T) {
	s := newScene(t)
	cc := s.dial(s.raw("S1", h2(t, 1, func(_ net.Conn, f *http2.Framer) error {
		f.AllowIllegalWrites = true
		return f.WriteWindowUpdate(0, 0)
	})))
	s.connect(cc)
	s.callUntilLost(cc, 1)
	s.golden()
}

// Streams of a real server that is stopped: how they end depends on what was on its way, but they are all told of.
func TestStreamsAtTeardown(t *testing.T) {
	s := newScene(t)
	srv := s.serve("S1")
	cc := s.dial(srv.address)
	s.connect(cc)
	waits := []func() error{s.stream(cc), s.stream(cc), s.stream(cc)}
	srv.stop()
	for _, wait := range waits {
		if err := wait(); status.Code(err) != codes.Unavailable {
			t.Errorf("a stream ended with %v", err)
		}
	}
	s.lost(cc)
	s.closeAll()
	for _, e := range s.told() {
		ended, ok := e.(event.TransportEnded)
		if !ok {
			continue
		}
		if ended.Interrupted != 3 || ended.Cause != event.CausePeerClosed && ended.Cause != event.CauseConnectionReset {
			t.Errorf("%v: want 3 RPCs killed by peer_closed or connection_reset", ended)
		}
	}
	s.shutdown()
}

// idleSoon is long enough for a channel to be READY before it goes idle.
const idleSoon = 500 * time.Millisecond

// A channel goes idle, and an RPC wakes it.
func TestIdleTimeoutAndWake(t *testing.T) {
	s := newScene(t)
	srv := s.serve("S1")
	cc := s.dial(srv.address, grpc.WithIdleTimeout(idleSoon))
	s.connect(cc)
	s.lost(cc)
	s.connect(cc)
	s.golden()
}

// The resolver takes away the address that is connected to, and gives another.
func TestAddressRemoved(t *testing.T) {
	s := newScene(t)
	one, two := s.serve("S1"), s.serve("S2")
	r, option := addresses(one.address)
	cc := s.dial("scene:///moving", option)
	s.connect(cc)
	r.UpdateState(endpoints(two.address))
	awaitKind[event.TransportReady](s, 2)
	s.gone()
	s.golden()
}

// One of two endpoints of round_robin is taken away.
func TestEndpointRemoved(t *testing.T) {
	s := newScene(t)
	one, two := s.serve("S1"), s.serve("S2")
	r, option := addresses(one.address, two.address)
	cc := s.dial("scene:///fewer", option, grpc.WithDefaultServiceConfig(roundRobin))
	s.connect(cc)
	awaitKind[event.TransportReady](s, 2)
	r.UpdateState(endpoints(one.address))
	s.gone()
	s.golden()
}

// A new service config replaces the policy.
func TestPolicyReplaced(t *testing.T) {
	s := newScene(t)
	srv := s.serve("S1")
	r, option := addresses(srv.address)
	cc := s.dial("scene:///replaced", option)
	s.connect(cc)
	state := endpoints(srv.address)
	state.ServiceConfig = r.CC().ParseServiceConfig(roundRobin)
	r.UpdateState(state)
	awaitKind[event.TransportReady](s, 2)
	s.gone()
	s.golden()
}

// ClientConn.Close in each of the states.
func TestClose(t *testing.T) {
	t.Run("Idle", func(t *testing.T) {
		s := newScene(t)
		s.dial(s.freeAddress("DEAD"))
		s.golden()
	})
	t.Run("Connecting", func(t *testing.T) {
		s := newScene(t)
		dialing := make(chan struct{})
		s.dial(s.name("192.0.2.1:1", "SILENT"), grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			close(dialing)
			<-ctx.Done()
			return nil, ctx.Err()
		})).Connect()
		<-dialing
		awaitKind[event.AttemptStarted](s, 1)
		s.golden()
	})
	t.Run("Ready", func(t *testing.T) {
		s := newScene(t)
		srv := s.serve("S1")
		cc := s.dial(srv.address)
		s.connect(cc)
		wait := s.stream(cc)
		s.closeAll()
		if err := wait(); status.Code(err) != codes.Canceled {
			t.Errorf("the stream ended with %v", err)
		}
		s.golden()
	})
	t.Run("TransientFailure", func(t *testing.T) {
		s := newScene(t)
		s.failOnce(s.freeAddress("DEAD"))
	})
	t.Run("Lost", func(t *testing.T) {
		s := newScene(t)
		srv := s.serve("S1")
		cc := s.dial(srv.address)
		s.connect(cc)
		srv.stop()
		s.lost(cc)
		s.golden()
	})
}
