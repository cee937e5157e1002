package otlp

import (
	"context"
	"errors"
	"net/url"

	"github.com/cenkalti/backoff/v5"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// patient tries again where no collector answers at all. The official exporter over HTTP does so only for what a collector
// answers, and the one over gRPC for both.
type patient struct{ sdktrace.SpanExporter }

// ExportSpans implements [sdktrace.SpanExporter].
func (p *patient) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval = retryFirst, retryMost
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := p.SpanExporter.ExportSpans(ctx, spans)
		if unanswered := new(url.Error); err != nil && !errors.As(err, &unanswered) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(waits), backoff.WithMaxElapsedTime(RetryFor))
	return err
}
