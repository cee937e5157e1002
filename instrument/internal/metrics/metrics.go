// Package metrics makes OpenTelemetry metrics of events.
package metrics

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/census"
	"github.com/redial-dev/redial/instrument/internal/failure"
	"github.com/redial-dev/redial/instrument/internal/signal"
)

// Sink makes metrics. Its methods may be called from any goroutine.
type Sink struct {
	connect, attempt, phase, backoff, transport, pickWait, resolve metric.Float64Histogram

	interrupted, unavailable, unattributed, overflowed, dropped, suppressed metric.Int64Counter

	addresses metric.Int64Gauge
	gauges    *gauges
}

// New makes the instruments. At each collection it asks what there is now. The instruments that could not be made do
// nothing, and are named by the error.
func New(meter metric.Meter, count func() census.Census) (*Sink, error) {
	m := maker{meter: meter}
	s := &Sink{
		connect:   m.histogram(signal.ConnectDuration, "Duration of connection episodes, from the start or a loss until READY or given up.", outage),
		attempt:   m.histogram(signal.AttemptDuration, "Duration of connection attempts.", quick),
		phase:     m.histogram(signal.PhaseDuration, "Duration of the phases of connection attempts.", quick),
		backoff:   m.histogram(signal.BackoffDuration, "Duration of backoff waits.", backoff),
		transport: m.histogram(signal.TransportDuration, "Time from a transport's READY until it is gone.", life),
		pickWait:  m.histogram(signal.PickWaitDuration, "Time that RPCs waited for a transport.", outage),
		resolve:   m.histogram(signal.ResolveDuration, "Duration of name resolutions.", quick),

		interrupted:  m.counter(signal.InterruptedRPCs, "{rpc}", "RPCs that died with their transport."),
		unavailable:  m.counter(signal.UnavailableRPCs, "{rpc}", "RPCs that failed because no subchannel was READY."),
		unattributed: m.counter(signal.Unattributed, "{transport}", "Connections that belong to no observed subchannel: redial is not attached to their policy."),
		overflowed:   m.counter(signal.TargetsOverflowed, "{channel}", "Channels whose target is told as other, since there are too many targets."),
		dropped:      m.counter(signal.EventsDropped, "{event}", "Events that were lost on their way to or in a sink, since it had no room or could not deliver."),
		suppressed:   m.counter(signal.SpansSuppressed, "{span}", "Root spans that were left out since their target has too many."),
		addresses:    m.gauge(signal.ResolveAddresses, "{address}", "Addresses in the newest answer of the name resolver."),
	}
	s.gauges = m.gauges(count)
	return s, errors.Join(m.errs...)
}

// Close stops the observation of gauges.
func (s *Sink) Close() error { return s.gauges.close() }

// Dropped counts events that a sink was not told of, or lost.
func (s *Sink) Dropped(sink string, n int64) {
	s.dropped.Add(context.Background(), n, metric.WithAttributes(signal.SinkName.String(sink)))
}

// Suppressed counts a root span that a sink left out.
func (s *Sink) Suppressed(sink string) {
	s.suppressed.Add(context.Background(), 1, metric.WithAttributes(signal.SinkName.String(sink)))
}

// TargetOverflowed counts a channel whose target is not told by name, since there are too many.
func (s *Sink) TargetOverflowed() { s.overflowed.Add(context.Background(), 1) }

// Unattributed counts a connection that belongs to no subchannel known.
func (s *Sink) Unattributed() { s.unattributed.Add(context.Background(), 1) }

// Handle records what an event measures. The context carries the span for exemplars.
func (s *Sink) Handle(ctx context.Context, e event.Event) {
	target := signal.Target.String(e.Header().Target)
	switch e := e.(type) {
	case event.ChannelState:
		s.gauges.see(e.Target)
	case event.ConnectEnded:
		if e.Outcome == event.OutcomeContinued {
			return // The episode goes on, and is measured as a whole.
		}
		s.connect.Record(ctx, e.Time.Sub(e.Start).Seconds(), metric.WithAttributes(
			target, signal.Trigger.String(string(e.Trigger)), outcome(e.Outcome)))
	case event.AttemptEnded:
		s.attempt.Record(ctx, e.Time.Sub(e.Start).Seconds(), metric.WithAttributes(append(
			failed(string(e.Phase), e.ErrorType), target, outcome(e.Outcome))...))
	case event.PhaseEnded:
		s.phase.Record(ctx, e.Time.Sub(e.Start).Seconds(), metric.WithAttributes(append(
			failed(string(e.Phase), e.ErrorType), target)...))
	case event.BackoffEnded:
		s.backoff.Record(ctx, e.Time.Sub(e.Start).Seconds(), metric.WithAttributes(target, outcome(e.Outcome)))
	case event.TransportEnded:
		s.transportEnded(ctx, e, target)
	case event.PickWaitEnded:
		s.pickWait.Record(ctx, e.Time.Sub(e.Start).Seconds(), metric.WithAttributes(target, outcome(e.Outcome)))
	case event.RPCRefused:
		s.unavailable.Add(ctx, 1, metric.WithAttributes(append(failed("", e.ErrorType), target)...))
	case event.Resolved:
		s.resolve.Record(ctx, e.Time.Sub(e.Start).Seconds(), metric.WithAttributes(target, outcome(e.Outcome)))
		if e.Err == nil {
			s.addresses.Record(ctx, int64(e.Addresses), metric.WithAttributes(target))
		}
	}
}

func (s *Sink) transportEnded(ctx context.Context, e event.TransportEnded, target attribute.KeyValue) {
	if e.Outcome == event.OutcomeInterrupted {
		return // It lives on, unobserved.
	}
	cause := signal.TeardownCause.String(string(e.Cause))
	of := []attribute.KeyValue{target, cause}
	if e.HTTP2ErrorCode != "" {
		of = append(of, signal.HTTP2ErrorCode.String(failure.KnownCode(e.HTTP2ErrorCode)))
	}
	s.transport.Record(ctx, e.Gone.Sub(e.Start).Seconds(), metric.WithAttributes(of...))
	if e.Interrupted > 0 {
		s.interrupted.Add(ctx, e.Interrupted, metric.WithAttributes(target, cause))
	}
}

func outcome(o event.Outcome) attribute.KeyValue { return signal.Outcome.String(string(o)) }

// failed returns the attributes of a failure that are not empty.
func failed(phase, errorType string) (kvs []attribute.KeyValue) {
	if phase != "" {
		kvs = append(kvs, signal.PhaseName.String(phase))
	}
	if errorType != "" {
		kvs = append(kvs, semconv.ErrorTypeKey.String(errorType))
	}
	return kvs
}

// maker makes instruments and collects the errors. The API returns an instrument that does nothing with an error.
type maker struct {
	meter metric.Meter
	errs  []error
}

func (m *maker) histogram(name, description string, bounds []float64) metric.Float64Histogram {
	h, err := m.meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description),
		metric.WithExplicitBucketBoundaries(bounds...))
	m.note(err)
	return h
}

func (m *maker) counter(name, unit, description string) metric.Int64Counter {
	c, err := m.meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
	m.note(err)
	return c
}

func (m *maker) gauge(name, unit, description string) metric.Int64Gauge {
	g, err := m.meter.Int64Gauge(name, metric.WithUnit(unit), metric.WithDescription(description))
	m.note(err)
	return g
}

func (m *maker) note(err error) {
	if err != nil {
		m.errs = append(m.errs, err)
	}
}
