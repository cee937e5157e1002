package instrument_test

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel"

	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/eventlog"
)

func sunk(f *fault) []instrument.Option {
	sink := event.SinkFunc(func(context.Context, event.Event) { _, _ = f.occurs() })
	return []instrument.Option{instrument.WithSink(sink)}
}

func targetsFiltered(f *fault) []instrument.Option {
	return []instrument.Option{instrument.WithTargetFilter(func(string) bool { return !f.returnsNothing() })}
}

func targetsRenamed(f *fault) []instrument.Option {
	return []instrument.Option{instrument.WithTargetRename(func(string) string { _, _ = f.occurs(); return "" })}
}

// reported makes that there is something to report to the handler of errors.
func reported(f *fault) []instrument.Option {
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) { _, _ = f.occurs() }))
	return sunk(&fault{mode: panics})
}

func logged(f *fault) []instrument.Option {
	return []instrument.Option{instrument.WithSink(eventlog.New(brokenLog{f}))}
}

type brokenLog struct{ f *fault }

func (brokenLog) Enabled(context.Context, slog.Level) bool { return true }
func (l brokenLog) Handle(context.Context, slog.Record) error {
	_, err := l.f.occurs()
	return err
}
func (l brokenLog) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l brokenLog) WithGroup(string) slog.Handler      { return l }
