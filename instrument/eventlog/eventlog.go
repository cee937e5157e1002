// Package eventlog writes events as log records, with the keys that docs/signals.md gives to attributes.
package eventlog

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/internal/attributes"
)

// New returns a sink for instrument.WithSink that writes each event as a record with the event's own time: failures
// and losses as warnings, what is READY, lost or backed off as information, the rest for debugging. The record has what
// happened (event=attempt.ended), to what, and the ids of the episode, attempt and transport by which records can be
// joined; and the trace of the event's span, if that is sampled.
func New(h slog.Handler) event.Sink { return &sink{handler: h} }

// sink is used by one goroutine at a time.
type sink struct {
	handler    slog.Handler
	attributes attributes.List
}

// Handle implements [event.Sink].
func (s *sink) Handle(ctx context.Context, e event.Event) {
	l := level(e)
	if !s.handler.Enabled(ctx, l) {
		return
	}
	r := slog.NewRecord(e.EventHeader().Time, l, e.String(), 0)
	s.attributes = s.attributes[:0].Record(e)
	for _, kv := range s.attributes {
		r.AddAttrs(attr(kv))
	}
	if sc := trace.SpanContextFromContext(ctx); sc.IsSampled() {
		r.AddAttrs(slog.String(string(attributes.TraceID), sc.TraceID().String()))
	}
	// The error of a handler that fails could only be logged.
	_ = s.handler.Handle(ctx, r)
}

// level returns the level of an event's record.
func level(e event.Event) slog.Level {
	switch e := e.(type) {
	case event.AttemptEnded:
		if e.Outcome == event.OutcomeFailed {
			return slog.LevelWarn
		}
	case event.TransportEnded:
		if e.Cause.Unexpected() {
			return slog.LevelWarn
		}
		return slog.LevelInfo
	case event.Resolved:
		if e.Err != nil {
			return slog.LevelWarn
		}
	case event.RPCRefused, event.TransportStalled:
		return slog.LevelWarn
	case event.TransportReady, event.TransportRecovered, event.TransportDraining, event.ConnectEnded:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

func attr(kv attribute.KeyValue) slog.Attr {
	key := string(kv.Key)
	switch kv.Value.Type() {
	case attribute.INT64:
		return slog.Int64(key, kv.Value.AsInt64())
	case attribute.FLOAT64:
		return slog.Float64(key, kv.Value.AsFloat64())
	case attribute.BOOL:
		return slog.Bool(key, kv.Value.AsBool())
	}
	return slog.String(key, kv.Value.AsString())
}
