package instrument_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/base"
	"google.golang.org/grpc/balancer/roundrobin"
	"google.golang.org/grpc/connectivity"
	_ "google.golang.org/grpc/health" // Client-side health checking.
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/stats"

	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/instrument/event"
)

// One DialOption for three channels, two of them to one target: a loss in one is none in the others.
func TestOneOptionThreeChannels(t *testing.T) {
	env := newEnvironment(t)
	one, two := env.serve("S1"), env.serve("S2")
	first, second, third := env.dial(one.address), env.dial(two.address), env.dial(two.address)
	for _, cc := range []*grpc.ClientConn{first, second, third} {
		env.connect(cc)
	}
	one.stop()
	env.gone()
	env.awaitUnobserved(first, connectivity.Idle)
	mustCall(t, second)
	mustCall(t, third)
	env.golden()
}

// Of two channels to one target each loses its own transport.
func TestSameTargetBothLost(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	for range 2 {
		env.connect(env.dial(srv.address))
	}
	srv.stop()
	env.await(2, "a transport's end", isEnded)
	for _, cc := range env.conns {
		env.awaitUnobserved(cc, connectivity.Idle)
	}
	env.golden()
}

// Two handlers on one channel: each has the whole record.
func TestTwoHandlers(t *testing.T) {
	env, other := newEnvironment(t), newEnvironment(t)
	srv := env.serve("S1")
	other.name(srv.address, "S1")
	cc := env.dial(srv.address, other.handler.DialOption())
	env.connect(cc)
	mustCall(t, cc)
	env.closeAll()
	other.awaitBalance()
	env.shutdown()
	other.shutdown()
	mine, theirs := env.renderSpans(), other.renderSpans()
	if mine != theirs || !strings.Contains(mine, "grpc.transport") {
		t.Errorf("the handlers differ:\n%s\n%s", mine, theirs)
	}
}

// The options of one handler, given twice to one channel, report it once: they took each other's connections for those
// of nobody, and counted RPCs twice or never.
func TestHandlerGivenTwice(t *testing.T) {
	env := newEnvironment(t)
	cc := env.dial(env.serve("S1").address, env.handler.DialOption())
	mustCall(t, cc)
	mustCall(t, cc)
	for series, n := range env.collect() {
		if strings.HasPrefix(series, "redial.transport.unattributed") && n != 0 ||
			strings.HasPrefix(series, "redial.pick.waiting") && n != 0 ||
			strings.HasPrefix(series, "grpc.subchannel.connection_attempts_succeeded") && n != 1 {
			t.Errorf("%s: %d", series, n)
		}
	}
	env.closeAll()
	env.shutdown()
	var made, ended, waits int
	for _, e := range env.recorded() {
		switch e := e.(type) {
		case event.TransportReady:
			made++
		case event.PickWaitEnded:
			waits++
		case event.TransportEnded:
			if ended++; e.RPCs != 2 {
				t.Errorf("%s: %d RPCs, want 2", e, e.RPCs)
			}
		}
	}
	if made != 1 || ended != 1 || waits > 2 { // For the name, and for the connection.
		t.Errorf("%d transports, %d ended, %d waits:\n%s", made, ended, waits, env.eventText())
	}
}

// doNothing is a handler of the user's own.
type doNothing struct{}

func (doNothing) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (doNothing) HandleRPC(context.Context, stats.RPCStats)                         {}
func (doNothing) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (doNothing) HandleConn(context.Context, stats.ConnStats)                       {}

// A channel without redial in the same process is not observed.
func TestChannelWithoutRedial(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	cc := env.dialWith(srv.address, insecureOption, grpc.WithStatsHandler(doNothing{}))
	cc.Connect()
	env.awaitUnobserved(cc, connectivity.Ready)
	mustCall(t, cc)
	env.golden()
}

// awaitUnobserved is awaitState for a channel that redial does not report.
func (env *environment) awaitUnobserved(cc *grpc.ClientConn, want connectivity.State) {
	env.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for have := cc.GetState(); have != want; have = cc.GetState() {
		if !cc.WaitForStateChange(ctx, have) {
			env.t.Fatalf("waited %v for %v, the channel is %v", patience, want, have)
		}
	}
}

// checked is a policy that asks for the health of the service "".
const checked = `{"healthCheckConfig":{"serviceName":""},"loadBalancingConfig":[{"%s":{}}]}`

// A server that says NOT_SERVING, and then SERVING again: nothing redials, since the connection is up.
func TestHealthCheck(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	srv.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	cc := env.dial(srv.address, grpc.WithDefaultServiceConfig(fmt.Sprintf(checked, "round_robin")))
	cc.Connect()
	env.awaitState(cc, connectivity.TransientFailure)
	srv.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	env.awaitState(cc, connectivity.Ready)
	srv.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	env.await(2, "the channel's TRANSIENT_FAILURE", func(e event.Event) bool {
		c, ok := e.(event.ChannelState)
		return ok && c.To == event.StateTransientFailure
	})
	srv.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	env.awaitState(cc, connectivity.Ready)
	env.golden()
}

// The same with a policy that makes SubConns itself: gRPC reports the failed check to it as TRANSIENT_FAILURE, and
// counts a disconnection, but the connection stays.
func TestHealthCheckOfOwnPolicy(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	cc := env.dial(srv.address, grpc.WithDefaultServiceConfig(fmt.Sprintf(checked, "test_checked")))
	env.connect(cc)
	srv.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	env.awaitState(cc, connectivity.TransientFailure)
	srv.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	env.await(2, "the channel's READY", func(e event.Event) bool {
		c, ok := e.(event.ChannelState)
		return ok && c.To == event.StateReady
	})
	env.golden()
}

// firstReady picks any READY subchannel.
type firstReady struct{}

func (firstReady) Build(info base.PickerBuildInfo) balancer.Picker {
	for sc := range info.ReadySCs {
		return picked{balancer.PickResult{SubConn: sc}}
	}
	return base.NewErrPicker(balancer.ErrNoSubConnAvailable)
}

type picked struct{ balancer.PickResult }

func (p picked) Pick(balancer.PickInfo) (balancer.PickResult, error) { return p.PickResult, nil }

func init() {
	balancer.Register(instrument.WrapBalancer(base.NewBalancerBuilder("test_own", firstReady{}, base.Config{})))
	balancer.Register(instrument.WrapBalancer(
		base.NewBalancerBuilder("test_checked", firstReady{}, base.Config{HealthCheck: true})))
	balancer.Register(base.NewBalancerBuilder("test_unwrapped", firstReady{}, base.Config{}))
}

// A policy that makes SubConns itself, wrapped: each subchannel is an endpoint.
func TestWrapBalancer(t *testing.T) {
	env := newEnvironment(t)
	one, two := env.serve("S1"), env.serve("S2")
	_, option := addresses(one.address, two.address)
	cc := env.dial("static:///own", option, grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"test_own":{}}]}`))
	env.connect(cc)
	awaitKind[event.TransportReady](env, 2)
	mustCall(t, cc)
	env.anyOne = true
	env.golden()
}

// The same policy unwrapped: redial is not attached, and says so once, with the remedy.
func TestNotAttached(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	var reports atomic.Int64
	env.onFault(func(err error) {
		if reports.Add(1); !strings.Contains(err.Error(), "WrapBalancer") {
			t.Errorf("reported without the remedy: %v", err)
		}
	})
	for range 2 {
		cc := env.dial(srv.address, grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"test_unwrapped":{}}]}`))
		cc.Connect()
		env.awaitUnobserved(cc, connectivity.Ready)
		mustCall(t, cc)
		env.unseen++
	}
	env.golden()
	if reports.Load() != 1 {
		t.Errorf("reported %d times, want once", reports.Load())
	}
}

// A sink that panics on every event changes nothing for the RPCs, the spans and the other sinks.
func TestPanickingSink(t *testing.T) {
	env := newEnvironment(t)
	var reports atomic.Int64
	env.onFault(func(err error) {
		if reports.Add(1); !strings.Contains(err.Error(), "a sink panicked") {
			t.Errorf("reported: %v", err)
		}
	})
	env.handler = env.newHandler(instrument.WithSink(event.SinkFunc(func(context.Context, event.Event) {
		panic("a sink's fault")
	})))
	srv := env.serve("S1")
	cc := env.dial(srv.address)
	env.connect(cc)
	mustCall(t, cc)
	env.golden()
	if reports.Load() == 0 {
		t.Error("the panic was not reported")
	}
}

// Shutdown in the middle: what is open ends as interrupted, the channel lives on, and nothing is reported any more.
func TestShutdownWhileReady(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	cc := env.dial(srv.address)
	env.connect(cc)
	env.awaitPassedOn()
	env.shutdown()
	before := len(env.recorded())
	mustCall(t, cc)
	srv.stop()
	env.awaitUnobserved(cc, connectivity.Idle)
	srv.start()
	mustCall(t, cc, grpc.WaitForReady(true))
	env.golden()
	if after := len(env.recorded()); after != before {
		t.Errorf("%d events after Shutdown", after-before)
	}
}

// The gauges show what is there now.
func TestGauges(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	cc := env.dial(srv.address)
	env.connect(cc)
	env.awaitPassedOn()
	env.wantMetrics("redial.channels grpc.channel.state=ready: 1", "redial.subchannels grpc.subchannel.state=ready: 1",
		"grpc.subchannel.open_connections: 1")
	env.closeAll()
	env.wantMetrics("redial.channels grpc.channel.state=ready: 0", "redial.subchannels grpc.subchannel.state=ready: 0",
		"grpc.subchannel.open_connections: 0")
	env.shutdown()
}

// A channel that is closed while it is idle calls nobody: its state is found at the next collection.
func TestClosedWhileIdle(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	cc := env.dial(srv.address, grpc.WithIdleTimeout(idleSoon))
	env.connect(cc)
	env.gone()
	env.wantMetrics("redial.channels grpc.channel.state=idle: 1")
	env.closeAll()
	env.wantMetrics("redial.channels grpc.channel.state=idle: 0")
	env.shutdown()
}

func (env *environment) wantMetrics(want ...string) {
	env.t.Helper()
	have := env.renderMetrics()
	for _, line := range want {
		if !strings.Contains(have, line+"\n") {
			env.t.Errorf("no %q among\n%s", line, have)
		}
	}
}

// Options that are nil or turn things off.
func TestOptions(t *testing.T) {
	env := newEnvironment(t)
	env.handler = env.newHandler(nil, instrument.WithSink(nil),
		instrument.WithTracerProvider(nil), instrument.WithMeterProvider(nil),
		instrument.WithTargetFilter(nil), instrument.WithoutGRPCMetrics(),
		instrument.WithTargetFilter(func(target string) bool { return !strings.Contains(target, "127.0.0.1") }))
	srv := env.serve("S1")
	env.connect(env.dial(srv.address))
	env.closeAll()
	metrics := env.renderMetrics()
	env.shutdown()
	if strings.Contains(metrics, "grpc.subchannel.disconnections") {
		t.Errorf("gRPC's own metrics were not left out:\n%s", metrics)
	}
	for _, span := range env.spans.Ended() {
		for _, kv := range span.Attributes() {
			if kv.Key == "grpc.target" && kv.Value.AsString() != "other" {
				t.Errorf("%s has the target %q, want other", span.Name(), kv.Value.AsString())
			}
		}
	}
	if len(env.spans.Ended()) == 0 {
		t.Error("no spans")
	}
}

// renamed is a policy under another name.
type renamed struct {
	balancer.Builder
	name string
}

func (r renamed) Name() string { return r.name }

func init() {
	balancer.Register(instrument.WrapBalancer(renamed{balancer.Get(roundrobin.Name), "test_wrapped_round_robin"}))
}

// A policy that is made of pick_first and wrapped although it need not be: its subchannels are reported once.
func TestWrapBalancerOfPickFirsts(t *testing.T) {
	env := newEnvironment(t)
	one, two := env.serve("S1"), env.serve("S2")
	_, option := addresses(one.address, two.address)
	cc := env.dial("static:///twice", option,
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"test_wrapped_round_robin":{}}]}`))
	env.connect(cc)
	awaitKind[event.TransportReady](env, 2)
	env.closeAll()
	defer env.shutdown()
	transports := 0
	for _, e := range env.recorded() {
		if _, ok := e.(event.TransportReady); ok {
			transports++
		}
	}
	if transports != 2 {
		t.Errorf("%d transports were reported, want 2", transports)
	}
}
