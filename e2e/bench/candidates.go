package main

import (
	"context"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
	experimental "google.golang.org/grpc/experimental/opentelemetry"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/stats/opentelemetry"

	"github.com/redial-dev/redial/instrument"
)

// doNothing is the handler that the others are compared with: any stats.Handler costs gRPC what this one does.
type doNothing struct{}

func (doNothing) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (doNothing) HandleRPC(context.Context, stats.RPCStats)                         {}
func (doNothing) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (doNothing) HandleConn(context.Context, stats.ConnStats)                       {}

// candidate is a way to observe a channel.
type candidate struct {
	name    string
	options []grpc.DialOption
}

// The candidates that the report speaks of.
const (
	base      = "nothing"
	ours      = "redial"
	otherwise = "otelgrpc"
)

// candidates share providers with the SDK's defaults: spans are made, sampled and dropped, metrics are kept. redial
// makes every span, without its limit.
func candidates() []candidate {
	tracer := sdktrace.NewTracerProvider()
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	redial := instrument.DialOption(instrument.WithTracerProvider(tracer), instrument.WithMeterProvider(meter),
		instrument.WithSpanRate(0))
	otel := grpc.WithStatsHandler(otelgrpc.NewClientHandler(
		otelgrpc.WithTracerProvider(tracer), otelgrpc.WithMeterProvider(meter),
		otelgrpc.WithPropagators(propagation.TraceContext{})))
	metrics := opentelemetry.MetricsOptions{MeterProvider: meter}
	return []candidate{
		{"bare", nil},
		{base, []grpc.DialOption{grpc.WithStatsHandler(doNothing{})}},
		{ours, []grpc.DialOption{redial}},
		{otherwise, []grpc.DialOption{otel}},
		{"grpc-metrics", []grpc.DialOption{opentelemetry.DialOption(opentelemetry.Options{MetricsOptions: metrics})}},
		{"grpc-traces", []grpc.DialOption{opentelemetry.DialOption(opentelemetry.Options{TraceOptions: experimental.TraceOptions{
			TracerProvider: tracer, TextMapPropagator: propagation.TraceContext{},
		}})}},
		{"redial+otelgrpc", []grpc.DialOption{redial, otel}},
	}
}
