package e2e

import (
	"context"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/stats/opentelemetry"
	"google.golang.org/grpc/status"

	"github.com/redial-dev/redial/e2e/internal/loopback"
	"github.com/redial-dev/redial/instrument"
)

const patience = 30 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func dial(t *testing.T, address string, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	quick := backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1, MaxDelay: 100 * time.Millisecond}
	cc, err := grpc.NewClient(address, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: quick}),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return cc
}

func check(cc *grpc.ClientConn, opts ...grpc.CallOption) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{}, opts...)
	return err
}

func awaitState(t *testing.T, cc *grpc.ClientConn, want connectivity.State) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cc.Connect()
	for have := cc.GetState(); have != want; have = cc.GetState() {
		if !cc.WaitForStateChange(ctx, have) {
			t.Fatalf("waited %v for %v, the channel is %v", patience, want, have)
		}
	}
}

// Beside otelgrpc redial's spans and events join the RPCs' spans that otelgrpc makes, and these stay what they were.
func TestOtelgrpc(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	handler := instrument.NewHandler(instrument.WithTracerProvider(tracer))
	address := loopback.FreeAddress(t)
	cc := dial(t, address, handler.DialOption(),
		grpc.WithStatsHandler(otelgrpc.NewClientHandler(otelgrpc.WithTracerProvider(tracer))))
	awaitState(t, cc, connectivity.TransientFailure)
	if err := check(cc); status.Code(err) != codes.Unavailable {
		t.Fatalf("an RPC without a server ended with %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- check(cc, grpc.WaitForReady(true)) }()
	defer loopback.Serve(t, address).Halt()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	shutdown(t, cc, handler)

	var refused, waited bool
	spans := recorder.Ended()
	for _, span := range spans {
		if span.Name() != "grpc.health.v1.Health/Check" {
			continue
		}
		if slices.ContainsFunc(span.Events(), func(e sdktrace.Event) bool { return e.Name == "redial.unavailable" }) {
			refused = true
		}
		if slices.ContainsFunc(spans, func(s sdktrace.ReadOnlySpan) bool {
			return s.Name() == "grpc.pick.wait" && s.Parent().SpanID() == span.SpanContext().SpanID()
		}) {
			waited = true
		}
	}
	if !refused || !waited {
		t.Errorf("refused RPC marked: %v, wait below its RPC: %v; spans: %v", refused, waited, names(spans))
	}
}

func shutdown(t *testing.T, cc *grpc.ClientConn, handler *instrument.Handler) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := cc.Close(); err != nil {
		t.Error(err)
	}
	if err := handler.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

func names(spans []sdktrace.ReadOnlySpan) (all []string) {
	for _, s := range spans {
		all = append(all, s.Name())
	}
	return all
}

// Beside gRPC's own plugin each counts the same in its own scope.
func TestPluginOfGRPC(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	handler := instrument.NewHandler(instrument.WithMeterProvider(meter))
	srv := loopback.Serve(t, "127.0.0.1:0")
	defer srv.Halt()
	cc := dial(t, srv.Address, handler.DialOption(), opentelemetry.DialOption(opentelemetry.Options{
		MetricsOptions: opentelemetry.MetricsOptions{
			MeterProvider: meter,
			Metrics: opentelemetry.DefaultMetrics().Add("grpc.subchannel.disconnections",
				"grpc.subchannel.connection_attempts_succeeded", "grpc.subchannel.open_connections"),
		},
	}))
	awaitState(t, cc, connectivity.Ready)
	if err := check(cc); err != nil {
		t.Fatal(err)
	}
	shutdown(t, cc, handler)

	var rm metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &rm); err != nil {
		t.Fatal(err)
	}
	counts := map[string][]int64{}
	for _, scope := range rm.ScopeMetrics {
		for _, m := range scope.Metrics {
			if sum, ok := m.Data.(metricdata.Sum[int64]); ok && len(sum.DataPoints) == 1 {
				counts[m.Name] = append(counts[m.Name], sum.DataPoints[0].Value)
			}
		}
	}
	for _, name := range []string{"grpc.subchannel.disconnections", "grpc.subchannel.connection_attempts_succeeded"} {
		if have := counts[name]; !slices.Equal(have, []int64{1, 1}) {
			t.Errorf("%s: %v, want 1 of each", name, have)
		}
	}
}
