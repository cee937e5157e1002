package otlp

import (
	"context"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/redial-dev/redial/internal/retry"
)

// httpRetry lets the official exporters over HTTP try again a little by themselves, since only they read the wait
// that a collector asks for. Those over gRPC would give up after the time-out of a single export.
var httpRetry = otlptracehttp.RetryConfig{
	Enabled: true, InitialInterval: retry.First, MaxInterval: retry.Longest, MaxElapsedTime: retry.Official,
}

// retryingSpanExporter tries an export again where the collector may take it later.
type retryingSpanExporter struct{ sdktrace.SpanExporter }

// ExportSpans implements [sdktrace.SpanExporter].
func (e *retryingSpanExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	return retry.Do(ctx, func() error { return e.SpanExporter.ExportSpans(ctx, spans) })
}

// retryingMetricExporter tries an export again where the collector may take it later.
type retryingMetricExporter struct{ sdkmetric.Exporter }

// Export implements [sdkmetric.Exporter].
func (e *retryingMetricExporter) Export(ctx context.Context, rm *metricdata.ResourceMetrics) error {
	return retry.Do(ctx, func() error { return e.Exporter.Export(ctx, rm) })
}
