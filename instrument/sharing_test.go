package instrument_test

import (
	"context"
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
	s := newScene(t)
	one, two := s.serve("S1"), s.serve("S2")
	first, second, third := s.dial(one.address), s.dial(two.address), s.dial(two.address)
	for _, cc := range []*grpc.ClientConn{first, second, third} {
		s.connect(cc)
	}
	one.stop()
	s.gone()
	s.awaitUnobserved(first, connectivity.Idle)
	mustCall(t, second)
	mustCall(t, third)
	s.golden()
}

// Of two channels to one target each loses its own transport.
func TestSameTargetBothLost(t *testing.T) {
	s := newScene(t)
	srv := s.serve("S1")
	for range 2 {
		s.connect(s.dial(srv.address))
	}
	srv.stop()
	s.await(2, "a transport's end", isEnded)
	for _, cc := range s.conns {
		s.awaitUnobserved(cc, connectivity.Idle)
	}
	s.golden()
}

// Two handlers on one channel: each tells the whole story.
func TestTwoHandlers(t *testing.T) {
	s, other := newScene(t), newScene(t)
	srv := s.serve("S1")
	other.name(srv.address, "S1")
	cc := s.dial(srv.address, other.handler.DialOption())
	s.connect(cc)
	mustCall(t, cc)
	s.closeAll()
	other.awaitBalance()
	s.shutdown()
	other.shutdown()
	mine, theirs := s.renderSpans(), other.renderSpans()
	if mine != theirs || !strings.Contains(mine, "grpc.transport") {
		t.Errorf("the handlers differ:\n%s\n%s", mine, theirs)
	}
}

// doNothing is a handler of the user's own.
type doNothing struct{}

func (doNothing) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (doNothing) HandleRPC(context.Context, stats.RPCStats)                         {}
func (doNothing) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (doNothing) HandleConn(context.Context, stats.ConnStats)                       {}

// A channel without redial in the same process is not told of.
func TestChannelWithoutRedial(t *testing.T) {
	s := newScene(t)
	srv := s.serve("S1")
	cc := s.dialWith(srv.address, insecureOption, grpc.WithStatsHandler(doNothing{}))
	cc.Connect()
	s.awaitUnobserved(cc, connectivity.Ready)
	mustCall(t, cc)
	s.golden()
}

// awaitUnobserved is awaitState for a channel that redial does not tell of.
func (s *scene) awaitUnobserved(cc *grpc.ClientConn, want connectivity.State) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for have := cc.GetState(); have != want; have = cc.GetState() {
		if !cc.WaitForStateChange(ctx, have) {
			s.t.Fatalf("waited %v for %v, the channel is %v", patience, want, have)
		}
	}
}

// checked asks for the health of the service "".
const checked = `{"healthCheckConfig":{"serviceName":""}%s}`

// A server that says NOT_SERVING, and then SERVING again: nothing redials, since the connection is up.
func TestHealthCheck(t *testing.T) {
	s := newScene(t)
	srv := s.serve("S1")
	srv.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	cc := s.dial(srv.address, grpc.WithDefaultServiceConfig(strings.Replace(checked, "%s", `,"loadBalancingConfig":[{"round_robin":{}}]`, 1)))
	cc.Connect()
	s.awaitState(cc, connectivity.TransientFailure)
	srv.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	s.awaitState(cc, connectivity.Ready)
	srv.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	s.await(2, "the channel's TRANSIENT_FAILURE", func(e event.Event) bool {
		c, ok := e.(event.ChannelState)
		return ok && c.To == event.StateTransientFailure
	})
	srv.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	s.awaitState(cc, connectivity.Ready)
	s.golden()
}

// The same with a policy that makes SubConns itself: gRPC tells it of the failed check as TRANSIENT_FAILURE, and
// counts a disconnection, but the connection stays.
func TestHealthCheckOfOwnPolicy(t *testing.T) {
	s := newScene(t)
	srv := s.serve("S1")
	cc := s.dial(srv.address, grpc.WithDefaultServiceConfig(strings.Replace(checked, "%s", `,"loadBalancingConfig":[{"scene_checked":{}}]`, 1)))
	s.connect(cc)
	srv.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	s.awaitState(cc, connectivity.TransientFailure)
	srv.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	s.await(2, "the channel's READY", func(e event.Event) bool {
		c, ok := e.(event.ChannelState)
		return ok && c.To == event.StateReady
	})
	s.golden()
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
	balancer.Register(instrument.WrapBalancer(base.NewBalancerBuilder("scene_own", firstReady{}, base.Config{})))
	balancer.Register(instrument.WrapBalancer(base.NewBalancerBuilder("scene_checked", firstReady{}, base.Config{HealthCheck: true})))
	balancer.Register(base.NewBalancerBuilder("scene_unwrapped", firstReady{}, base.Config{}))
}

// A policy that makes SubConns itself, wrapped: each subchannel is an endpoint.
func TestWrapBalancer(t *testing.T) {
	s := newScene(t)
	one, two := s.serve("S1"), s.serve("S2")
	_, option := addresses(one.address, two.address)
	cc := s.dial("scene:///own", option, grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"scene_own":{}}]}`))
	s.connect(cc)
	awaitKind[event.TransportReady](s, 2)
	mustCall(t, cc)
	s.golden()
}

// The same policy unwrapped: redial is not attached, and says so once, with the remedy.
func TestNotAttached(t *testing.T) {
	s := newScene(t)
	srv := s.serve("S1")
	var told atomic.Int64
	s.onFault(func(err error) {
		if told.Add(1); !strings.Contains(err.Error(), "WrapBalancer") {
			t.Errorf("told without the remedy: %v", err)
		}
	})
	for range 2 {
		cc := s.dial(srv.address, grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"scene_unwrapped":{}}]}`))
		cc.Connect()
		s.awaitUnobserved(cc, connectivity.Ready)
		mustCall(t, cc)
		s.unseen++
	}
	s.golden()
	if told.Load() != 1 {
		t.Errorf("told %d times, want once", told.Load())
	}
}

// A sink that panics on every event changes nothing for the RPCs, the spans and the other sinks.
func TestPanickingSink(t *testing.T) {
	s := newScene(t)
	var told atomic.Int64
	s.onFault(func(err error) {
		if told.Add(1); !strings.Contains(err.Error(), "a sink panicked") {
			t.Errorf("told: %v", err)
		}
	})
	s.handler = s.newHandler(instrument.WithSink(event.SinkFunc(func(context.Context, event.Event) { panic("a sink's fault") })))
	srv := s.serve("S1")
	cc := s.dial(srv.address)
	s.connect(cc)
	mustCall(t, cc)
	s.golden()
	if told.Load() == 0 {
		t.Error("the panic was not told")
	}
}

// Shutdown in the middle: what is open ends as interrupted, the channel lives on, and nothing is told any more.
func TestShutdownWhileReady(t *testing.T) {
	s := newScene(t)
	srv := s.serve("S1")
	cc := s.dial(srv.address)
	s.connect(cc)
	s.awaitPassedOn()
	s.shutdown()
	before := len(s.told())
	mustCall(t, cc)
	srv.stop()
	s.awaitUnobserved(cc, connectivity.Idle)
	srv.start()
	mustCall(t, cc, grpc.WaitForReady(true))
	s.golden()
	if after := len(s.told()); after != before {
		t.Errorf("%d events after Shutdown", after-before)
	}
}

// The gauges show what is there now.
func TestGauges(t *testing.T) {
	s := newScene(t)
	srv := s.serve("S1")
	cc := s.dial(srv.address)
	s.connect(cc)
	s.awaitPassedOn()
	s.wantMetrics("redial.channels grpc.channel.state=ready: 1", "redial.subchannels grpc.subchannel.state=ready: 1",
		"grpc.subchannel.open_connections: 1")
	s.closeAll()
	s.wantMetrics("redial.channels grpc.channel.state=ready: 0", "redial.subchannels grpc.subchannel.state=ready: 0",
		"grpc.subchannel.open_connections: 0")
	s.shutdown()
}

// A channel that is closed while it is idle calls nobody: its state is found at the next collection.
func TestClosedWhileIdle(t *testing.T) {
	s := newScene(t)
	srv := s.serve("S1")
	cc := s.dial(srv.address, grpc.WithIdleTimeout(idleSoon))
	s.connect(cc)
	s.gone()
	s.wantMetrics("redial.channels grpc.channel.state=idle: 1")
	s.closeAll()
	s.wantMetrics("redial.channels grpc.channel.state=idle: 0")
	s.shutdown()
}

func (s *scene) wantMetrics(want ...string) {
	s.t.Helper()
	have := s.renderMetrics()
	for _, line := range want {
		if !strings.Contains(have, line+"\n") {
			s.t.Errorf("no %q among\n%s", line, have)
		}
	}
}

// Options that are nil or turn things off.
func TestOptions(t *testing.T) {
	s := newScene(t)
	s.handler = s.newHandler(nil, instrument.WithSink(nil), instrument.WithTracerProvider(nil), instrument.WithMeterProvider(nil),
		instrument.WithTargetFilter(nil), instrument.WithoutGRPCMetrics(),
		instrument.WithTargetFilter(func(target string) bool { return !strings.Contains(target, "127.0.0.1") }))
	srv := s.serve("S1")
	s.connect(s.dial(srv.address))
	s.closeAll()
	metrics := s.renderMetrics()
	s.shutdown()
	if strings.Contains(metrics, "grpc.subchannel.disconnections") {
		t.Errorf("gRPC's own metrics were not left out:\n%s", metrics)
	}
	for _, span := range s.spans.Ended() {
		for _, kv := range span.Attributes() {
			if kv.Key == "grpc.target" && kv.Value.AsString() != "other" {
				t.Errorf("%s has the target %q, want other", span.Name(), kv.Value.AsString())
			}
		}
	}
	if len(s.spans.Ended()) == 0 {
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
	balancer.Register(instrument.WrapBalancer(renamed{balancer.Get(roundrobin.Name), "scene_wrapped_round_robin"}))
}

// A policy that is made of pick_first and wrapped although it need not be: its subchannels are told of once.
func TestWrapBalancerOfPickFirsts(t *testing.T) {
	s := newScene(t)
	one, two := s.serve("S1"), s.serve("S2")
	_, option := addresses(one.address, two.address)
	cc := s.dial("scene:///twice", option, grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"scene_wrapped_round_robin":{}}]}`))
	s.connect(cc)
	awaitKind[event.TransportReady](s, 2)
	s.closeAll()
	defer s.shutdown()
	transports := 0
	for _, e := range s.told() {
		if _, ok := e.(event.TransportReady); ok {
			transports++
		}
	}
	if transports != 2 {
		t.Errorf("%d transports were told of, want 2", transports)
	}
}
