package delivery

import (
	"context"
	"errors"
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

// Export implements [sdkmetric.Exporter]. It returns no error, since the SDK would report each. An export that the SDK
// cuts off, since it is shut down, is no failure: the last one follows.
func (e *metricExporter) Export(ctx context.Context, rm *metricdata.ResourceMetrics) error {
	e.reporter.export(ctx, ofMetrics,
		func(during context.Context) error {
			err := e.Exporter.Export(during, rm)
			if errors.Is(ctx.Err(), context.Canceled) {
				return nil
			}
			return err
		},
		e.failed)
	return nil
}

func (e *metricExporter) failed(err error) {
	if e.reporter.stop.Err() != nil {
		e.reporter.report(ofMetrics, fmt.Errorf("redial: the last export of metrics was given up: %w", err))
		return
	}
	e.reporter.report(ofMetrics,
		fmt.Errorf("redial: an export of metrics failed; the next one has the same sums: %w", err))
}
