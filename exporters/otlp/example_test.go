package otlp_test

import (
	"context"
	"log"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/redial-dev/redial/exporters/otlp"
	"github.com/redial-dev/redial/instrument"
)

// Spans and metrics to a collector, without the agent.
func Example() {
	ctx := context.Background()
	spans, err := otlp.NewSpanExporter(ctx, otlp.WithProtocol(otlp.GRPC))
	if err != nil {
		log.Fatal(err)
	}
	metrics, err := otlp.NewMetricExporter(ctx, otlp.WithProtocol(otlp.GRPC))
	if err != nil {
		log.Fatal(err)
	}
	reader := sdkmetric.NewPeriodicReader(metrics)
	instrument.DialOption(
		instrument.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithBatcher(spans))),
		instrument.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))))
}
