// Package vitals makes metrics of the agent itself: what its journal keeps, and the exports that failed. They are
// read at each collection, so that nothing is counted twice.
package vitals

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/redial-dev/redial/agent/internal/delivery"
	"github.com/redial-dev/redial/agent/internal/journal"
	"github.com/redial-dev/redial/instrument"
)

// The names, as docs/signals.md lists them.
const (
	JournalEvents      = "redial.journal.events"
	JournalOverwritten = "redial.journal.overwritten"
	JournalSize        = "redial.journal.size"
	ExportsFailed      = "redial.exports.failed"
	Signal             = attribute.Key("redial.signal")
)

// Register makes the instruments, which read from the journal and the reporter until unregister is called. The
// provider may be a user's: its panic is an error.
func Register(
	p metric.MeterProvider, scope string, j *journal.Journal, r *delivery.Reporter,
) (unregister func() error, err error) {
	var registration metric.Registration
	err = safely(func() (err error) {
		meter := p.Meter(scope, metric.WithInstrumentationVersion(instrument.Version))
		registration, err = register(meter, j, r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make the agent's own metrics: %w", err)
	}
	return func() error {
		if registration == nil {
			return nil
		}
		return safely(registration.Unregister)
	}, nil
}

// safely calls what may be a user's.
func safely(call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the meter provider, or what it was given, panicked: %v", p)
		}
	}()
	return call()
}

func register(m metric.Meter, j *journal.Journal, r *delivery.Reporter) (metric.Registration, error) {
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
	if events == nil || overwritten == nil || size == nil || failed == nil {
		return nil, errors.New("the meter provider returned no instrument and no error")
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
