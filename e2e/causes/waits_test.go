package causes

import (
	"bytes"
	"context"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	otelcodes "go.opentelemetry.io/otel/codes"
	"golang.org/x/net/dns/dnsmessage"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	_ "google.golang.org/grpc/balancer/ringhash" // Registers ring_hash.
	"google.golang.org/grpc/connectivity"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/redial-dev/redial/e2e/internal/loopback"
	"github.com/redial-dev/redial/instrument/event"
)

// held is how long whatever holds an RPC does so.
const held = 300 * time.Millisecond

// call makes an RPC below a span of its own, in the background, and waits for a transport.
func (env *environment) call(cc *grpc.ClientConn) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		defer cancel()
		ctx, span := env.tracer.Tracer("app").Start(ctx, "rpc")
		defer span.End()
		_, err := healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
		if err != nil {
			span.SetStatus(otelcodes.Error, err.Error())
		}
	}()
	return func() { <-done }
}

// waits waits until redial reports that an RPC waits for a reason.
func (env *environment) waits(reason event.WaitReason) {
	env.t.Helper()
	await(env, func(e event.PickWaitStarted) bool { return e.Reason == reason })
}

// gated dials an address, but not before the gate is open.
func gated(gate <-chan struct{}, address string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		select {
		case <-gate:
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// slowNameServer resolves every name to 127.0.0.1, but takes its time, and returns its address.
func slowNameServer(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	go func() {
		for buf := make([]byte, 512); ; {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if err := m.Unpack(buf[:n]); err != nil || len(m.Questions) != 1 {
				t.Errorf("the name server was asked %v (%v)", m.Questions, err)
				return
			}
			m.Response, m.Additionals = true, nil
			if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1},
					Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
				}}
			}
			answer, err := m.Pack()
			if err != nil {
				t.Error(err)
				return
			}
			time.AfterFunc(held, func() { _, _ = conn.WriteTo(answer, from) }) // The test may be over.
		}
	}()
	return conn.LocalAddr().String()
}

// The RPC wakes a channel, whose name server is slow. What it waits for next is the connection.
func TestWaitForName(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	gate := make(chan struct{})
	cc := env.client("dns://"+slowNameServer(t)+"/service.test:443", dialing(gated(gate, server(t).Address)))
	wait := env.call(cc)
	env.waits(event.WaitConnecting)
	close(gate)
	wait()
	checkTrace(t, "wait for name_resolution", env.traces(cc))
}

// The server is away when the channel connects, and comes back while gRPC backs off. An RPC waits for it.
func TestWaitForConnection(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	const address = "127.0.0.1:20051" // No other test listens there, nor is it an ephemeral port.
	back := make(chan struct{})
	var dials atomic.Int32
	again := gated(back, address)
	cc := env.dial(address, grpc.WithConnectParams(grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: time.Second, Multiplier: 1, MaxDelay: time.Second},
		MinConnectTimeout: testTimeout,
	}), dialing(func(ctx context.Context) (net.Conn, error) {
		if dials.Add(1) == 1 {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
		return again(ctx)
	}))
	env.failed()
	wait := env.call(cc)
	env.waits(event.WaitConnecting)
	srv := loopback.Serve(t, address)
	t.Cleanup(srv.Halt)
	close(back)
	wait()
	checkTrace(t, "wait for connecting", env.traces(cc))
}

// ring_hash queues an RPC that has no hash in a picker of its own, until one of its endpoints is READY.
func TestWaitForPolicy(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	gate := make(chan struct{})
	address := server(t).Address
	cc := env.dial(address, dialing(gated(gate, address)), grpc.WithDefaultServiceConfig(
		`{"loadBalancingConfig":[{"ring_hash_experimental":{"requestHashHeader":"session"}}]}`))
	await(env, func(e event.ChannelState) bool { return e.To == event.StateIdle }) // It connects when an RPC comes.
	wait := env.call(cc)
	awaitPick(t)
	time.AfterFunc(held, func() { close(gate) })
	wait()
	checkTrace(t, "wait for policy", env.traces(cc))
}

// The server allows one stream at a time, and another RPC has it.
func TestWaitForStream(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	cc := env.dial(server(t, grpc.MaxConcurrentStreams(1)).Address)
	for state := cc.GetState(); state != connectivity.Ready; state = cc.GetState() { // Then gRPC has the picker, too.
		cc.WaitForStateChange(t.Context(), state)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := healthpb.NewHealthClient(cc).Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	wait := env.call(cc)
	env.waits(event.WaitStreamQuota)
	time.AfterFunc(held, cancel)
	for err == nil {
		_, err = stream.Recv()
	}
	wait()
	checkTrace(t, "wait for stream_quota", env.traces(cc))
}

// awaitPick waits until gRPC holds an RPC for which it has no transport: no event says so before it has one.
func awaitPick(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	stacks := make([]byte, 16<<20)
	for deadline := time.Now().Add(testTimeout); ; <-tick.C {
		if bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("grpc.(*pickerWrapper).pick(")) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no RPC waits for a picker")
		}
	}
}
