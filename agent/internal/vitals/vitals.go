// Package vitals makes metrics of the agent itself: what its journal keeps, and the exports that failed. They are
// read at each collection, so that nothing is counted twice.
package vitals

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/redial-dev/redial/agent/internal/delivery"
	"github.com/redial-dev/redial/agent/internal/journal"
)

// The names, as docs/signals.md lists them.
const (
	JournalEvents      = "redial.journal.events"
	JournalOverwritten = "redial.journal.overwritten"
	JournalSize        = "redial.journal.size"
	ExportsFailed      = "redial.exports.failed"
	Signal             = attribute.Key("redial.signal")
)

// Register makes the instruments, which read from the journal and the reporter until the registration ends.
func Register(m metric.Meter, j *journal.Journal, r *delivery.Reporter) (metric.Registration, error) {
	events, err1 := m.Int64ObservableCounter(JournalEvents, metric.WithUnit("{event}"),
		metric.WithDescription("Events that the journal recorded."))
	overwritten, err2 := m.Int64ObservableCounter(JournalOverwritten, metric.WithUnit("{event}"),
		metric.WithDescription("Events that the journal keeps no more, since newer ones took their room."))
	size, err3 := m.Int64ObservableGauge(JournalSize, metric.WithUnit("By"),
		metric.WithDescription("Memory that the journal takes."))
	failed, err4 := m.Int64ObservableCounter(ExportsFailed, metric.WithUnit("{export}"),
		metric.WithDescription("Exports that failed after all retries."))
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	traces, metrics := metric.WithAttributes(Signal.String("traces")), metric.WithAttributes(Signal.String("metrics"))
	return m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		kept, failures := j.Stats(), r.Failed()
		o.ObserveInt64(events, int64(kept.Written))
		o.ObserveInt64(overwritten, int64(kept.Overwritten))
		o.ObserveInt64(size, int64(kept.Bytes))
		o.ObserveInt64(failed, failures.Traces, traces)
		o.ObserveInt64(failed, failures.Metrics, metrics)
		return nil
	}, events, overwritten, size, failed)
}
