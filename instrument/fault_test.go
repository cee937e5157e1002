package instrument_test

//lint:file-ignore SA1019 A policy of gRPC's older interface is made of what gRPC deprecated.

import (
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
	estats "google.golang.org/grpc/experimental/stats"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/test/bufconn"

	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/instrument/event"
)

// faultyMeter provides a meter whose counters call a function before they count.
type faultyMeter struct {
	metric.MeterProvider
	before func()
}

func (m faultyMeter) Meter(name string, opts ...metric.MeterOption) metric.Meter {
	return faultyCounters{m.MeterProvider.Meter(name, opts...), m.before}
}

type faultyCounters struct {
	metric.Meter
	before func()
}

func (m faultyCounters) Int64Counter(name string, opts ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	c, err := m.Meter.Int64Counter(name, opts...)
	return faultyCounter{c, m.before}, err
}

type faultyCounter struct {
	metric.Int64Counter
	before func()
}

func (c faultyCounter) Add(ctx context.Context, n int64, opts ...metric.AddOption) {
	c.before()
	c.Int64Counter.Add(ctx, n, opts...)
}

// withMeter returns an option with a faulty meter.
func (env *environment) withMeter(before func()) instrument.Option {
	return instrument.WithMeterProvider(faultyMeter{MeterProvider: env.meter, before: before})
}

// A meter that panics is reported, and neither RPCs nor a loss are affected.
func TestMeterPanics(t *testing.T) {
	env := newEnvironment(t)
	var reports atomic.Int64
	env.onFault(func(err error) {
		if reports.Add(1); !strings.Contains(err.Error(), "the meter provider, or what it was given, panicked") {
			t.Errorf("reported: %v", err)
		}
	})
	h := env.newHandler(env.withMeter(func() { panic("a meter's fault") }))
	srv := env.serve("S1")
	cc := env.dialWith(srv.address, insecureOption, h.DialOption())
	mustCall(t, cc)
	srv.stop()
	env.awaitUnobserved(cc, connectivity.Idle)
	env.closeAll()
	env.shutdown()
	wait(t, "the panic is reported", func() bool { return reports.Load() > 0 })
	if err := h.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// A meter that blocks holds neither an RPC, nor a channel that is closed, nor a lock of gRPC, and misses nothing.
func TestMeterBlocks(t *testing.T) {
	env := newEnvironment(t)
	released := make(chan struct{})
	h := env.newHandler(env.withMeter(func() { <-released }))
	srv := env.serve("S1")
	for range 3 {
		cc := env.dialWith(srv.address, insecureOption, h.DialOption())
		mustCall(t, cc)
		if err := cc.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := len(h.Channels()); n != 0 {
		t.Errorf("%d channels are open", n)
	}
	close(released)
	if err := h.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	var attempts int64
	env.eachSeries(func(name string, _ attribute.Set, n int64) {
		if name == "grpc.subchannel.connection_attempts_succeeded" {
			attempts += n
		}
	})
	if attempts != 3 {
		t.Errorf("%d connections were counted, want 3", attempts)
	}
	env.closeAll()
	env.shutdown()
}

// A target filter that asks the handler for its channels gets them, and one that blocks delays no channel but its own.
func TestTargetFilterBlocks(t *testing.T) {
	env := newEnvironment(t)
	var reports atomic.Int64
	env.onFault(func(err error) {
		if reports.Add(1); !strings.Contains(err.Error(), "WithTargetFilter") {
			t.Errorf("reported: %v", err)
		}
	})
	released := make(chan struct{})
	var h *instrument.Handler
	h = env.newHandler(instrument.WithTargetFilter(func(target string) bool {
		if strings.HasSuffix(target, "slow") {
			<-released
		}
		return len(h.Channels()) >= 0
	}))
	srv := env.serve("S1")
	slow := env.dialWith("passthrough:///slow", insecureOption, h.DialOption())
	go slow.Connect()
	mustCall(t, env.dialWith(srv.address, insecureOption, h.DialOption()))
	wait(t, "the filter that blocks is reported", func() bool { return reports.Load() > 0 })
	close(released)
	env.closeAll()
	env.shutdown()
	if err := h.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// addrless is a connection whose address is not known.
type addrless struct{ net.Conn }

func (addrless) LocalAddr() net.Addr { return nil }

// A connection without a local address is observed as any other, beside another handler that reads its context.
func TestNilLocalAddr(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	cc := env.dial(srv.address, grpc.WithStatsHandler(doNothing{}), grpc.WithContextDialer(
		func(ctx context.Context, address string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
			return addrless{c}, err
		}))
	mustCall(t, cc)
	awaitKind[event.TransportReady](env, 1)
	env.closeAll()
	env.shutdown()
}

// Connections of many listeners in memory have equal addresses: each belongs to its own subchannel, and nothing is
// reported.
func TestEqualAddresses(t *testing.T) {
	const channels = 50
	env := newEnvironment(t)
	var calls sync.WaitGroup
	for range channels {
		lis := bufconn.Listen(1 << 16)
		srv := grpc.NewServer()
		healthpb.RegisterHealthServer(srv, health.NewServer())
		served := make(chan error, 1)
		go func() { served <- srv.Serve(lis) }()
		t.Cleanup(func() {
			srv.Stop()
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
		cc := env.dial("passthrough:///memory", grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return lis.DialContext(ctx)
		}))
		calls.Go(func() {
			if err := call(cc); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	awaitKind[event.TransportReady](env, channels)
	env.closeAll()
	env.shutdown()
}

// A channel that is closed before its resolver answered is forgotten.
func TestClosedBeforeResolved(t *testing.T) {
	env := newEnvironment(t)
	for range 100 {
		cc := env.dial("silent:///", grpc.WithResolvers(instrument.WrapResolver(manual.NewBuilderWithScheme("silent"))))
		cc.Connect()
		if err := cc.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := len(env.handler.Channels()); n != 0 {
		t.Errorf("%d closed channels are shown as open", n)
	}
	env.closeAll()
	env.shutdown()
}

// older is a policy of gRPC's older interface: its SubConn has no listener.
type older struct {
	balancer.Balancer
	cc balancer.ClientConn
}

type olderBuilder struct{}

func (olderBuilder) Name() string { return "test_older" }

func (olderBuilder) Build(cc balancer.ClientConn, _ balancer.BuildOptions) balancer.Balancer {
	return &older{cc: cc}
}

func (b *older) UpdateClientConnState(s balancer.ClientConnState) error {
	sc, err := b.cc.NewSubConn(s.ResolverState.Addresses[:1], balancer.NewSubConnOptions{})
	if err == nil {
		sc.Connect()
	}
	return err
}

func (b *older) UpdateSubConnState(sc balancer.SubConn, s balancer.SubConnState) {
	if s.ConnectivityState == connectivity.Ready {
		b.cc.UpdateState(balancer.State{
			ConnectivityState: connectivity.Ready, Picker: picked{balancer.PickResult{SubConn: sc}},
		})
	}
}

func (*older) ResolverError(error) {}

func (*older) Close() {}

func init() { balancer.Register(instrument.WrapBalancer(olderBuilder{})) }

// A policy of gRPC's older interface is observed.
func TestOlderPolicy(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	cc := env.dial(srv.address, grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"test_older":{}}]}`))
	mustCall(t, cc)
	awaitKind[event.TransportReady](env, 1)
	env.await(1, "the subchannel's READY", func(e event.Event) bool {
		s, ok := e.(event.SubchannelState)
		return ok && s.To == event.StateReady
	})
	env.closeAll()
	env.shutdown()
}

// foreign is a metrics recorder that is not redial's.
type foreign struct {
	doNothing
	estats.UnimplementedMetricsRecorder
	mu     sync.Mutex
	labels map[string]bool
}

func (f *foreign) RecordInt64Count(m *estats.Int64CountHandle, n int64, labels ...string) {
	if !strings.HasPrefix(m.Descriptor().Name, "redial.") {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.labels[strings.Join(labels, " ")] = true
}

// A metrics recorder that is not redial's sees no label that grows with the number of channels.
func TestForeignRecorder(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	recorder := &foreign{labels: map[string]bool{}}
	for range 50 {
		cc := env.dialWith(srv.address, insecureOption, grpc.WithStatsHandler(recorder))
		mustCall(t, cc)
	}
	env.closeAll()
	env.shutdown()
	recorder.mu.Lock()
	defer recorder.mu.Unlock()
	if n := len(recorder.labels); n > 10 {
		t.Errorf("%d values of labels for 50 channels", n)
	}
}
