package stack

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/redial-dev/redial/agent"
	"github.com/redial-dev/redial/e2e/internal/loopback"
)

// The addresses of the pods of deploy/kubernetes: their configurations listen on the ports that OTLP has.
const (
	gateway = "127.0.0.2"
	sampler = "127.0.0.3"
	another = "127.0.0.4"
)

// statusError is OTLP's code of an error.
const statusError = 2

// startTier starts the gateway and two samplers with the configurations of deploy/kubernetes. What they keep is found
// in the collector that is returned. Only what the cluster says is replaced, and the time until a decision.
func startTier(t *testing.T) collector {
	t.Helper()
	kept := startCollector(t)
	folder := filepath.Join("..", "..", "deploy", "kubernetes", "collector")
	t.Setenv("TRACES_ENDPOINT", kept.grpc)
	for _, ip := range []string{sampler, another} {
		t.Setenv("POD_IP", ip)
		run(t, "collector", "--config", filepath.Join(folder, "sampler-config.yaml"),
			"--config", "yaml:processors::tail_sampling::decision_wait: 2s")
	}
	t.Setenv("POD_IP", gateway)
	t.Setenv("SAMPLERS", sampler)
	run(t, "collector", "--config", filepath.Join(folder, "gateway-config.yaml"), "--config",
		fmt.Sprintf("yaml:exporters::load_balancing::resolver: {dns: null, static: {hostnames: [%s, %s]}}", sampler, another))
	for _, ip := range []string{gateway, sampler, another} {
		eventually(t, "health of "+ip, func() bool { return answers("http://" + ip + ":13133/") })
	}
	return kept
}

// byTrace returns the kept spans by the trace.
func (c collector) byTrace(t *testing.T) map[string][]span {
	t.Helper()
	all := map[string][]span{}
	for _, s := range c.spans(t) {
		all[s.TraceID] = append(all[s.TraceID], s)
	}
	return all
}

// Of ordinary episodes a share is kept, and of those with an error all, whole, whichever sampler had them.
func TestEpisodesAreSampledByTheirEnd(t *testing.T) {
	const ordinary, failed = 400, 40
	kept := startTier(t)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://"+gateway+":4317")
	t.Setenv("OTEL_TRACES_EXPORTER", "otlp")
	t.Setenv("OTEL_METRICS_EXPORTER", "none")
	t.Setenv("REDIAL_SPAN_RATE", "0")
	a, err := agent.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dial := func(address string, state connectivity.State) {
		t.Helper()
		cc, err := a.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		cc.Connect()
		awaitState(t, cc, state)
		if err := cc.Close(); err != nil {
			t.Error(err)
		}
	}
	server := loopback.Serve(t, "127.0.0.1:0")
	for range ordinary {
		dial(server.Address, connectivity.Ready)
	}
	server.Halt()
	nobody := loopback.FreeAddress(t)
	for range failed {
		dial(nobody, connectivity.TransientFailure)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := a.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}

	count := func() (good, bad, partial int) {
		for _, spans := range kept.byTrace(t) {
			has := map[string]int{}
			ok := true
			for _, s := range spans {
				has[s.Name]++
				ok = ok && s.Status.Code != statusError
			}
			switch {
			case has["grpc.connect"] == 0: // Of a resolution or a transport.
			case ok:
				good++
			case has["grpc.connect.attempt"] == 1 && has["grpc.connect.dial"] == 1:
				bad++
			default:
				partial++
			}
		}
		return good, bad, partial
	}
	eventually(t, "all episodes with an error", func() bool { _, bad, _ := count(); return bad >= failed })
	eventually(t, "a share of the ordinary episodes", func() bool { good, _, _ := count(); return good > 0 })
	good, bad, partial := count()
	t.Logf("kept %d of %d ordinary episodes, %d of %d with an error", good, ordinary, bad, failed)
	if bad != failed || partial > 0 || good > ordinary/5 {
		t.Errorf("of %d episodes with an error %d are kept whole and %d in part, and %d of %d ordinary ones",
			failed, bad, partial, good, ordinary)
	}
}

// What somebody will ask about is kept without an error on any span, and when the error comes late.
func TestWaitsAndKilledRPCsAreKept(t *testing.T) {
	const each = 50
	kept := startTier(t)
	exporter, err := otlptracegrpc.New(t.Context(), otlptracegrpc.WithEndpoint(gateway+":4317"), otlptracegrpc.WithInsecure())
	if err != nil {
		t.Fatal(err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	defer func() {
		if err := provider.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	tracer := provider.Tracer("sampling")
	// end ends a span that took some time, and returns its context.
	end := func(ctx context.Context, name string, took time.Duration, mark func(trace.Span)) context.Context {
		now := time.Now()
		ctx, span := tracer.Start(ctx, name, trace.WithTimestamp(now.Add(-took)))
		mark(span)
		span.End(trace.WithTimestamp(now))
		return ctx
	}
	nothing := func(trace.Span) {}
	var late []context.Context
	for range each {
		end(t.Context(), "grpc.pick.wait", 2*time.Second, nothing)
		end(t.Context(), "shop.Orders/Get", time.Millisecond, func(s trace.Span) { s.AddEvent("redial.transport_lost") })
		end(t.Context(), "grpc.transport", time.Hour, func(s trace.Span) {
			s.SetAttributes(attribute.Int("redial.rpcs.interrupted", 1))
		})
		late = append(late, end(t.Context(), "grpc.connect.dial", time.Millisecond, nothing))
	}
	names := func() map[string]int {
		has := map[string]int{}
		for _, s := range kept.spans(t) {
			has[s.Name]++
		}
		return has
	}
	for _, name := range []string{"grpc.pick.wait", "shop.Orders/Get", "grpc.transport"} {
		eventually(t, name, func() bool { return names()[name] == each })
	}
	for _, ctx := range late { // They were decided with the others.
		end(ctx, "grpc.connect.attempt", time.Minute, func(s trace.Span) { s.SetStatus(codes.Error, "it hung") })
	}
	// Each of the two samplers remembers the last that it did not keep.
	eventually(t, "the errors that came late", func() bool { return names()["grpc.connect.attempt"] >= each-2 })
	if dials := names()["grpc.connect.dial"]; dials > each/2 {
		t.Errorf("%d of %d ordinary spans are kept", dials, each)
	}
}
