package causes

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/redial-dev/redial/e2e/internal/loopback"
	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/internal/selfsigned"
)

// speakHTTP2 speaks enough HTTP/2 on a connection that gRPC is READY. Once it has read so many whole requests, and all
// that gRPC sends besides, it does something: gRPC has nothing left to write then, so that the end comes in one way
// only.
func speakHTTP2(c net.Conn, requests int, then func() error) error {
	if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
		return err
	}
	f := http2.NewFramer(c, c)
	if err := f.WriteSettings(); err != nil {
		return err
	}
	for whole, acked := 0, false; whole < requests || !acked; {
		frame, err := f.ReadFrame()
		if err != nil {
			return err
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
	return then()
}

// drain reads until the client closes, in whichever way, and closes too.
func drain(c net.Conn) error {
	_, _ = io.Copy(io.Discard, c)
	if err := c.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// A server of TLS that closes was reported as unknown in most cases: crypto/tls returns EOF at close_notify, when the
// socket is still ESTABLISHED.
func TestTLSPeerCloses(t *testing.T) {
	t.Parallel()
	cert, pool := selfsigned.Certificate(t, "service.test")
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}
	for name, end := range map[string]func(*tls.Conn) error{
		"close_notify, no FIN":   (*tls.Conn).CloseWrite,
		"close_notify, then FIN": (*tls.Conn).Close,
		"FIN, no close_notify":   func(c *tls.Conn) error { return c.NetConn().(*net.TCPConn).CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnvironment(t)
			address := loopback.Accept(t, func(c *net.TCPConn) error {
				secure := tls.Server(c, config)
				err := speakHTTP2(secure, 0, func() error { <-env.up; return end(secure) })
				return errors.Join(err, drain(c))
			})
			env.dial(address, trusting(pool, "service.test"))
			env.expectCause(event.CausePeerClosed)
		})
	}
}

// expectCause waits for the first transport's end.
func (env *environment) expectCause(want event.Cause) event.TransportEnded {
	env.t.Helper()
	e := env.lost()
	if e.Cause != want {
		env.t.Errorf("%s, TCP %+v, RPC error %q: want %s", e, e.TCP, e.RPCError, want)
	}
	return e
}

// A server that stops, and an RPC at once, was reported as connection_reset in almost half of the cases: the RPC's
// write was answered by RST, which changed the state of the socket after gRPC had read EOF.
func TestPeerClosesThenRPC(t *testing.T) {
	t.Parallel()
	for range 20 {
		env := newEnvironment(t)
		closed := make(chan struct{})
		first := true
		address := loopback.Accept(t, func(c *net.TCPConn) error {
			if !first { // The RPC connects again.
				return drain(c)
			}
			first = false
			return speakHTTP2(c, 0, func() error {
				defer close(closed)
				<-env.up
				return c.Close()
			})
		})
		cc := env.dial(address)
		<-closed
		_, wait := env.rpc(cc)
		// Where the kernel lost the FIN, gRPC read the RST itself.
		if e := env.lost(); e.Cause != event.CausePeerClosed && e.DisconnectError != "connection reset" {
			t.Errorf("%s, TCP %+v, RPC error %q: want peer_closed", e, e.TCP, e.RPCError)
		}
		if err := cc.Close(); err != nil {
			t.Error(err)
		}
		wait()
	}
}

// An idle unix socket whose peer closed was reported as unknown: there is no TCP_INFO.
func TestUnixPeerCloses(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	lis, err := net.Listen("unix", filepath.Join(t.TempDir(), "server.sock"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		c, err := lis.Accept()
		if err != nil {
			done <- err
			return
		}
		done <- speakHTTP2(c, 0, func() error { <-env.up; return c.Close() })
	}()
	env.dial("unix://" + lis.Addr().String())
	env.expectCause(event.CausePeerClosed)
	if err := errors.Join(<-done, lis.Close()); err != nil {
		t.Error(err)
	}
}

// What breaks the protocol on a READY connection was unknown, or whatever the socket showed afterwards.
func TestProtocolBrokenInMidLife(t *testing.T) {
	t.Parallel()
	cert, pool := selfsigned.Certificate(t, "service.test")
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}
	type serve func(env *environment, c *net.TCPConn) error
	plainly := func(text string) serve {
		return func(env *environment, c *net.TCPConn) error {
			err := speakHTTP2(c, 0, func() error { <-env.up; _, err := io.WriteString(c, text); return err })
			return errors.Join(err, drain(c))
		}
	}
	securely := func(then func(*tls.Conn) error) serve {
		return func(env *environment, c *net.TCPConn) error {
			secure := tls.Server(c, config)
			err := speakHTTP2(secure, 0, func() error { <-env.up; return then(secure) })
			return errors.Join(err, drain(c))
		}
	}
	for name, of := range map[string]struct {
		serve serve
		opts  []grpc.DialOption
	}{
		"an answer of HTTP/1": {serve: plainly("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")},
		"garbage":             {serve: plainly("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")},
		"garbage within TLS": {
			securely(func(c *tls.Conn) error { _, err := io.WriteString(c, "HTTP/1.1 400 Bad Request"); return err }),
			[]grpc.DialOption{trusting(pool, "service.test")},
		},
		"a bad record of TLS": {
			securely(func(c *tls.Conn) error {
				_, err := c.NetConn().Write(append([]byte{23, 3, 3, 0, 32}, make([]byte, 32)...))
				return err
			}),
			[]grpc.DialOption{trusting(pool, "service.test")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnvironment(t)
			address := loopback.Accept(t, func(c *net.TCPConn) error { return of.serve(env, c) })
			env.dial(address, of.opts...)
			env.expectCause(event.CauseProtocolError)
		})
	}
}

// endpoints returns the state of a resolver that gives these addresses.
func endpoints(addresses ...string) (state resolver.State) {
	for _, a := range addresses {
		one := resolver.Endpoint{Addresses: []resolver.Address{{Addr: a}}}
		state.Endpoints = append(state.Endpoints, one)
	}
	return state
}

// An RPC that is cut while its transport drains, since its address was removed, was reported as address_removed.
func TestCutWhileDraining(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	asked, cut := make(chan struct{}), make(chan struct{})
	draining := loopback.Accept(t, func(c *net.TCPConn) error {
		return speakHTTP2(c, 1, func() error {
			close(asked)
			<-cut
			return errors.Join(c.SetLinger(0), c.Close())
		})
	})
	r := manual.NewBuilderWithScheme("moving")
	r.InitialState(endpoints(draining))
	cc := env.dial("moving:///", grpc.WithResolvers(instrument.WrapResolver(r)))
	_, wait := env.rpc(cc)
	<-asked // An RPC that has no stream yet is sent again on another transport.
	r.UpdateState(endpoints(server(t).Address))
	await(env, func(event.TransportDraining) bool { return true })
	close(cut)
	if e := env.expectCause(event.CauseConnectionReset); e.Interrupted != 1 {
		t.Errorf("%s: one RPC was killed", e)
	}
	wait()
}

// answering is a health server that answers once it may.
type answeringServer struct {
	healthpb.UnimplementedHealthServer
	asked  chan struct{}
	answer chan error
}

// Check implements [healthpb.HealthServer].
func (s *answeringServer) Check(
	context.Context, *healthpb.HealthCheckRequest,
) (*healthpb.HealthCheckResponse, error) {
	s.asked <- struct{}{}
	return nil, <-s.answer
}

// Watch implements [healthpb.HealthServer]. Its answer comes after headers and a message.
func (s *answeringServer) Watch(_ *healthpb.HealthCheckRequest, stream healthpb.Health_WatchServer) error {
	if err := stream.Send(&healthpb.HealthCheckResponse{}); err != nil {
		return err
	}
	s.asked <- struct{}{}
	return <-s.answer
}

// A server whose answer reads as if a transport had been lost, as a gateway's does that passes on its upstream's error,
// was taken for a killer of RPCs.
func TestServersWordsAreNoEvidence(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(context.Context, healthpb.HealthClient) error{
		"unary": func(ctx context.Context, c healthpb.HealthClient) error {
			_, err := c.Check(ctx, &healthpb.HealthCheckRequest{})
			return err
		},
		"stream": func(ctx context.Context, c healthpb.HealthClient) error {
			stream, err := c.Watch(ctx, &healthpb.HealthCheckRequest{})
			for err == nil {
				_, err = stream.Recv()
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnvironment(t)
			lis := loopback.Listen(t)
			health := &answeringServer{asked: make(chan struct{}), answer: make(chan error)}
			srv := grpc.NewServer()
			healthpb.RegisterHealthServer(srv, health)
			served, stopped, done := make(chan error, 1), make(chan struct{}), make(chan error, 1)
			go func() { served <- srv.Serve(lis) }()
			cc := env.dial(lis.Addr().String())
			env.ready()
			go func() { done <- call(t.Context(), healthpb.NewHealthClient(cc)) }()
			<-health.asked
			go func() {
				defer close(stopped)
				srv.GracefulStop()
			}()
			await(env, func(event.TransportDraining) bool { return true })
			health.answer <- status.Error(codes.Unavailable, "error reading from server: EOF")
			if err := <-done; status.Code(err) != codes.Unavailable {
				t.Errorf("the RPC ended with %v", err)
			}
			<-stopped
			e := env.expectCause(event.CauseGoAway)
			if e.InFlight != 1 || e.Interrupted != 0 || e.RPCError != "" {
				t.Errorf("%s, RPC error %q: the RPC was answered", e, e.RPCError)
			}
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
	}
}

// RPCs that wait for a stream when their transport is lost were counted as killed. gRPC sends them again.
func TestRPCsThatWaitForAStream(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	lis := loopback.Listen(t)
	health := &answeringServer{asked: make(chan struct{}, 10), answer: make(chan error)}
	srv := grpc.NewServer(grpc.MaxConcurrentStreams(1))
	healthpb.RegisterHealthServer(srv, health)
	served := make(chan error, 1)
	accepted := &acceptedConns{Listener: lis, conns: make(chan net.Conn, 10)}
	go func() { served <- srv.Serve(accepted) }()
	cc := env.dial(lis.Addr().String())
	env.ready()
	const waiting = 5
	results := make(chan error, 1+waiting)
	check := func() {
		_, err := healthpb.NewHealthClient(cc).Check(t.Context(), &healthpb.HealthCheckRequest{})
		results <- err
	}
	go check()
	<-health.asked
	for range waiting {
		go check()
	}
	env.awaitInFlight(1 + waiting)
	first := (<-accepted.conns).(*net.TCPConn)
	if err := errors.Join(first.SetLinger(0), first.Close()); err != nil {
		t.Fatal(err)
	}
	e := env.expectCause(event.CauseConnectionReset)
	if e.InFlight != 1+waiting || e.Interrupted != 1 || e.Retried != waiting {
		t.Errorf("%s, in flight %d, retried %d: want 1 killed and %d retried", e, e.InFlight, e.Retried, waiting)
	}
	close(health.answer)
	for range 1 + waiting {
		<-results
	}
	srv.Stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// stuckConn is a connection whose writes block, once that is asked for, until its reads fail.
type stuckConn struct {
	*net.TCPConn
	stuck   atomic.Bool
	blocked chan struct{} // Gets something with each write that blocks.
	failed  chan struct{}
	once    sync.Once
}

// Write implements [net.Conn].
func (c *stuckConn) Write(b []byte) (int, error) {
	if !c.stuck.Load() {
		return c.TCPConn.Write(b)
	}
	c.blocked <- struct{}{}
	<-c.failed
	return 0, syscall.EPIPE
}

// Read implements [net.Conn].
func (c *stuckConn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	if err != nil {
		c.once.Do(func() { close(c.failed) })
	}
	return n, err
}

// RPCs whose headers were not written yet when their transport was lost were counted as killed, and cleared the cause
// where this side had taken the transport down. gRPC sends them again.
func TestRPCsWhoseHeadersWereNotWritten(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	lis := loopback.Listen(t)
	health := &answeringServer{asked: make(chan struct{}, 10), answer: make(chan error)}
	srv := grpc.NewServer()
	healthpb.RegisterHealthServer(srv, health)
	served := make(chan error, 1)
	accepted := &acceptedConns{Listener: lis, conns: make(chan net.Conn, 10)}
	go func() { served <- srv.Serve(accepted) }()
	dialed := make(chan *stuckConn, 10)
	cc := env.dial(lis.Addr().String(), dialing(func(ctx context.Context) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", lis.Addr().String())
		if err != nil {
			return nil, err
		}
		own := &stuckConn{TCPConn: c.(*net.TCPConn), blocked: make(chan struct{}, 10), failed: make(chan struct{})}
		dialed <- own
		return own, nil
	}))
	env.ready()
	const unwritten = 3
	results := make(chan error, 2+unwritten)
	check := func() {
		_, err := healthpb.NewHealthClient(cc).Check(t.Context(), &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
		results <- err
	}
	go check()
	<-health.asked
	conn := <-dialed
	conn.stuck.Store(true)
	go check()
	<-conn.blocked // What is asked of gRPC from now on stays in its own queue.
	for range unwritten {
		go check()
	}
	env.awaitInFlight(2 + unwritten)
	first := (<-accepted.conns).(*net.TCPConn)
	if err := errors.Join(first.SetLinger(0), first.Close()); err != nil {
		t.Fatal(err)
	}
	e := env.expectCause(event.CauseConnectionReset)
	close(health.answer)
	died := int64(0)
	for range 2 + unwritten {
		if err := <-results; status.Code(err) == codes.Unavailable {
			died++
		}
	}
	// gRPC reports no error of an RPC that dies after its headers and before its message.
	if e.Interrupted > died || e.Interrupted < 1 {
		t.Errorf("%s, retried %d: %d RPCs of %d died", e, e.Retried, died, 2+unwritten)
	}
	srv.Stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// awaitInFlight waits until the READY transports carry this many RPCs.
func (env *environment) awaitInFlight(want int64) {
	env.t.Helper()
	deadline := time.Now().Add(testTimeout)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		var have int64
		for _, ch := range env.handler.Channels() {
			for _, e := range ch.Endpoints {
				for _, sub := range e.Subchannels {
					have += sub.InFlight
				}
			}
		}
		if have == want {
			return
		}
		if time.Now().After(deadline) {
			env.t.Fatalf("%d RPCs are in flight, want %d", have, want)
		}
		<-tick.C
	}
}

// acceptedConns is a listener that hands out the connections that it accepted.
type acceptedConns struct {
	net.Listener
	conns chan net.Conn
}

// Accept implements [net.Listener].
func (a *acceptedConns) Accept() (net.Conn, error) {
	c, err := a.Listener.Accept()
	if err == nil {
		a.conns <- c
	}
	return c, err
}

// An RPC that ClientConn.Close ends was not counted.
func TestCloseWithRPCInFlight(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	cc := env.dial(server(t).Address)
	answered, wait := env.rpc(cc)
	<-answered
	if err := cc.Close(); err != nil {
		t.Error(err)
	}
	wait()
	if e := env.expectCause(event.CauseChannelClosed); e.InFlight != 1 || e.Interrupted != 1 {
		t.Errorf("%s, in flight %d: want one, and killed", e, e.InFlight)
	}
}

// expiring is a connection that ends itself when nothing comes for a moment.
type expiring struct{ *net.TCPConn }

// Read implements [net.Conn].
func (c *expiring) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		return 0, err
	}
	return c.TCPConn.Read(b)
}

// A read deadline of the dialer's own conn was reported as if the kernel had given up.
func TestReadDeadlineOfTheDialers(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	address := server(t).Address
	env.dial(address, dialing(func(ctx context.Context) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		return &expiring{c.(*net.TCPConn)}, nil
	}))
	env.ready()
	env.expectCause(event.CauseUnknown)
}

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
