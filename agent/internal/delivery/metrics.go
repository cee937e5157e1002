package delivery

import (
	"context"
	"fmt"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// Metrics returns the exporter with its failures reported. Sums are not lost with an export: the next one has them too.
func Metrics(next sdkmetric.Exporter, r *Reporter) sdkmetric.Exporter {
	return &metricExporter{next, r}
}

type metricExporter struct {
	sdkmetric.Exporter
	reporter *Reporter
}

// Export implements [sdkmetric.Exporter]. It returns no error, since the SDK would report each.
func (e *metricExporter) Export(ctx context.Context, rm *metricdata.ResourceMetrics) error {
	e.reporter.export(ctx, ofMetrics,
		func(ctx context.Context) error { return e.Exporter.Export(ctx, rm) },
		func(err error) {
			e.reporter.limit.Report(ofMetrics,
				fmt.Errorf("redial: an export of metrics failed; the next one has the same sums: %w", err))
		})
	return nil
}
