package instrument_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/instrument/event"
)

// noStreams allows no streams until the channel is closed, and then ends the connection.
func noStreams(t *testing.T, lose <-chan struct{}) func(net.Conn) {
	return func(c net.Conn) {
		if err := http2.NewFramer(c, c).WriteSettings(
			http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 0},
		); err != nil {
			t.Error(err)
		}
		go func() {
			_, _ = io.Copy(io.Discard, c) // What is unread would make a reset of the end.
		}()
		<-lose
		_ = c.(*net.TCPConn).CloseWrite() // The client may have been faster.
	}
}

// awaitStreamWait waits until this many RPCs have begun to wait for a stream.
func (env *environment) awaitStreamWait(n int) {
	env.t.Helper()
	env.await(n, "a wait for a stream", func(e event.Event) bool {
		w, ok := e.(event.PickWaitStarted)
		return ok && w.Reason == event.WaitStreamQuota
	})
}

// All streams that the server allows are in use: the next RPC has its transport, and waits for a stream of it.
func TestWaitForStream(t *testing.T) {
	env := newEnvironment(t)
	cc, free := env.outOfStreams()
	env.awaitStreamWait(1)
	late, cancelLate := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancelLate()
	wantCode(t, callWith(late, cc), codes.DeadlineExceeded)
	if refused := env.onlyRefused(); refused.Reason != event.WaitStreamQuota {
		t.Errorf("the RPC was refused after it waited for %q", refused.Reason)
	}
	free()
	all := env.waitsFor(event.WaitStreamQuota)
	if len(all) != 2 || all[0].Outcome != event.OutcomeDeadlineExceeded || all[1].Outcome != event.OutcomePicked {
		t.Errorf("want a wait that ends with the deadline, and one with a stream; there were:\n%s", env.eventText())
	}
	env.closeAll()
	env.shutdown()
}

// Each of several handlers of a channel sees that an RPC waits for a stream.
func TestWaitForStreamOfSeveralHandlers(t *testing.T) {
	env := newEnvironment(t)
	var others [2]struct {
		handler *instrument.Handler
		waits   atomic.Int64
	}
	var options []grpc.DialOption
	for i := range others {
		o := &others[i]
		o.handler = instrument.NewHandler(instrument.WithSink(event.SinkFunc(func(_ context.Context, e event.Event) {
			if w, ok := e.(event.PickWaitEnded); ok && w.Reason == event.WaitStreamQuota {
				o.waits.Add(1)
			}
		})))
		options = append(options, o.handler.DialOption())
	}
	_, free := env.outOfStreams(options...)
	env.awaitStreamWait(1)
	free()
	if have := len(env.waitsFor(event.WaitStreamQuota)); have != 1 {
		t.Errorf("the first handler saw %d waits for a stream", have)
	}
	env.closeAll()
	for i := range others {
		if err := others[i].handler.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if have := others[i].waits.Load(); have != 1 {
			t.Errorf("another handler saw %d waits for a stream", have)
		}
	}
	env.shutdown()
}

// slowToken takes its time for the credentials of an RPC, and waits for the RPC's end meanwhile.
type slowToken struct{}

func (slowToken) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(5 * time.Millisecond):
		return map[string]string{"authorization": "token"}, nil
	}
}

func (slowToken) RequireTransportSecurity() bool { return false }

// An RPC that waits for its own credentials does not wait for a stream.
func TestCredentialsAreNoWaitForStream(t *testing.T) {
	env := newEnvironment(t)
	cc := env.dial(env.serve("S1").address)
	env.connect(cc)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	end := env.streamWith(ctx, cc)
	var all []func() error
	for range 8 {
		all = append(all, env.rpcInBackground(context.Background(), "RPC", cc, grpc.PerRPCCredentials(slowToken{})))
	}
	for _, wait := range all {
		wantCode(t, wait(), codes.OK)
	}
	cancel()
	wantCode(t, end(), codes.Canceled)
	if all := env.waitsFor(event.WaitStreamQuota); len(all) > 0 {
		t.Errorf("%d RPCs waited for a stream, want none:\n%s", len(all), env.eventText())
	}
	env.closeAll()
	env.shutdown()
}

// outOfStreams dials a server that allows one stream, uses that up, and lets an RPC wait for it. The function that it
// returns ends the stream, and the RPC gets it.
func (env *environment) outOfStreams(opts ...grpc.DialOption) (cc *grpc.ClientConn, free func()) {
	env.t.Helper()
	cc = env.dial(env.serve("S1", grpc.MaxConcurrentStreams(1)).address, opts...)
	env.connect(cc)
	mustCall(env.t, cc)
	ctx, cancel := context.WithCancel(context.Background())
	env.t.Cleanup(cancel)
	end := env.streamWith(ctx, cc)
	wait := env.rpcInBackground(context.Background(), "RPC", cc)
	return cc, func() {
		env.t.Helper()
		cancel()
		wantCode(env.t, wait(), codes.OK)
		wantCode(env.t, end(), codes.Canceled)
	}
}

// The first RPC of a transport whose server allows no streams was not known to wait.
func TestFirstRPCWaitsForStream(t *testing.T) {
	env := newEnvironment(t)
	lose := make(chan struct{})
	cc := env.dial(env.raw("S1", noStreams(t, lose)))
	env.connect(cc)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	wantCode(t, callWith(ctx, cc), codes.DeadlineExceeded)
	env.onlyWait(event.WaitStreamQuota, event.OutcomeDeadlineExceeded, "timeout")
	if refused := env.onlyRefused(); refused.Reason != event.WaitStreamQuota || refused.ErrorType != "timeout" {
		t.Errorf("the RPC was refused (%s) after it waited for %q", refused.ErrorType, refused.Reason)
	}
	close(lose)
	env.closeAll()
	env.shutdown()
}

// A wait for a stream of a transport that is lost was "failed" with the error.type of a policy, while gRPC sent the RPC
// again. And gRPC begins an attempt of such an RPC of which it makes no use: that counted as an RPC that waits, for
// good.
func TestTransportLostWhileWaitingForStream(t *testing.T) {
	env := newEnvironment(t)
	staying := env.serve("S2")
	const times = 10
	for i := range times {
		lose := make(chan struct{})
		addresses := make(chan string, 2)
		addresses <- env.raw("S1", noStreams(t, lose))
		addresses <- staying.address
		cc := env.dial("passthrough:///either", grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", <-addresses)
		}))
		env.connect(cc)
		wait := env.rpcInBackground(context.Background(), "RPC", cc, grpc.WaitForReady(true))
		env.awaitStreamWait(i + 1)
		close(lose)
		wantCode(t, wait(), codes.OK)
	}
	all := env.waitsFor(event.WaitStreamQuota)
	if len(all) != times {
		t.Errorf("%d waits for a stream, want %d", len(all), times)
	}
	for _, w := range all {
		if w.Outcome != event.OutcomeContinued || w.ErrorType != "" || w.Err != nil {
			t.Errorf("%s (%s), want it to be continued", w, w.ErrorType)
		}
	}
	for series, n := range env.collect() {
		if strings.HasPrefix(series, "redial.pick.waiting") && n != 0 {
			t.Errorf("%s: %d, and no RPC waits", series, n)
		}
	}
	env.closeAll()
	env.shutdown()
}

// An RPC that waited for a stream when its channel was closed counted as sent again.
func TestCloseWhileWaitingForStream(t *testing.T) {
	env := newEnvironment(t)
	lose := make(chan struct{})
	cc := env.dial(env.raw("S1", noStreams(t, lose)))
	env.connect(cc)
	wait := env.rpcInBackground(context.Background(), "RPC", cc)
	env.awaitStreamWait(1)
	if err := cc.Close(); err != nil {
		t.Error(err)
	}
	wantCode(t, wait(), codes.Canceled)
	close(lose)
	env.awaitBalance()
	env.onlyWait(event.WaitStreamQuota, event.OutcomeCancelled, "cancelled")
	for _, e := range env.recorded() {
		if e, ok := e.(event.TransportEnded); ok && (e.InFlight != 1 || e.Interrupted != 1 || e.Retried != 0) {
			t.Errorf("%s: in flight %d, retried %d, want one killed", e, e.InFlight, e.Retried)
		}
	}
	env.shutdown()
}

// An RPC that died while it waited for a stream of a READY transport had the error.type of another endpoint's failure.
func TestWaitForStreamIsNoOtherEndpointsFailure(t *testing.T) {
	env := newEnvironment(t)
	r := manual.NewBuilderWithScheme("two")
	r.InitialState(resolver.State{Addresses: []resolver.Address{
		{Addr: env.serve("S1", grpc.MaxConcurrentStreams(1)).address}, {Addr: env.freeAddress("DEAD")},
	}})
	cc := env.dial("two:///service", grpc.WithResolvers(r), grpc.WithDefaultServiceConfig(roundRobin))
	env.connect(cc)
	env.await(1, "a failed attempt", func(e event.Event) bool {
		a, ok := e.(event.AttemptEnded)
		return ok && a.ErrorType == "connection_refused"
	})
	mustCall(t, cc)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	end := env.streamWith(ctx, cc)
	late, cancelLate := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancelLate()
	wantCode(t, callWith(late, cc), codes.DeadlineExceeded)
	env.onlyWait(event.WaitStreamQuota, event.OutcomeDeadlineExceeded, "timeout")
	if refused := env.onlyRefused(); refused.ErrorType != "timeout" {
		t.Errorf("the RPC was refused: %s", refused.ErrorType)
	}
	cancel()
	wantCode(t, end(), codes.Canceled)
	env.closeAll()
	env.shutdown()
}
