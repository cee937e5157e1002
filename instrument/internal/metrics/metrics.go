// Package metrics makes OpenTelemetry metrics from events, and from what is counted at each collection.
package metrics

import (
	"context"
	"errors"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
	"github.com/redial-dev/redial/instrument/internal/sample"
	"github.com/redial-dev/redial/internal/signal"
)

// Sink makes metrics. Its methods may be called from any goroutine, but for Handle.
type Sink struct {
	connect, attempt, phase, backoff, transport, pickWait, resolve metric.Float64Histogram

	opened, interrupted, unavailable, answers, unattributed, overflowed, dropped, suppressed metric.Int64Counter

	internalsFailed metric.Int64Counter

	addresses metric.Int64Gauge
	gauges    *gauges

	attributes map[series]metric.MeasurementOption // Of Handle's goroutine.
	bySink     sync.Map                            // The attributes of what sinks lost, by the sink's name.
}

// New makes the instruments. Those that could not be made do nothing, and
// are named by the error.
func New(meter metric.Meter) (*Sink, error) {
	m := maker{meter: meter}
	s := &Sink{
		attributes: map[series]metric.MeasurementOption{},

		connect: m.histogram(signal.ConnectDuration,
			"Duration of connection episodes, from the start or a loss until READY or given up.", outage),
		attempt:   m.histogram(signal.AttemptDuration, "Duration of connection attempts.", attempt),
		phase:     m.histogram(signal.PhaseDuration, "Duration of the phases of connection attempts.", quick),
		backoff:   m.histogram(signal.BackoffDuration, "Duration of backoff waits.", backoff),
		transport: m.histogram(signal.TransportDuration, "Time from a transport's READY until it is gone.", life),
		pickWait:  m.histogram(signal.PickWaitDuration, "Time that RPCs waited before they were sent, by the reason.", pickWait),
		resolve:   m.histogram(signal.ResolveDuration, "Duration of name lookups, of those whose begin is known.", quick),

		opened:      m.counter(signal.ChannelsOpened, "{channel}", "Channels that were made."),
		interrupted: m.counter(signal.InterruptedRPCs, "{rpc}", "RPCs that died with their transport."),
		unavailable: m.counter(signal.UnavailableRPCs, "{rpc}", "RPCs that failed because no subchannel was READY."),
		answers:     m.counter(signal.ResolveAnswers, "{answer}", "Answers of the name resolver, by the outcome."),
		unattributed: m.counter(signal.Unattributed, "{transport}",
			"Connections that belong to no observed subchannel: redial is not attached to their policy."),
		overflowed: m.counter(signal.TargetsOverflowed, "{channel}",
			"Channels whose target is named other, since there are too many targets."),
		dropped: m.counter(signal.EventsDropped, "{event}",
			"Events that were lost on their way to or in a sink, since it had no room or could not deliver."),
		suppressed: m.counter(signal.SpansSuppressed, "{span}",
			"Root spans that were left out since their target has too many."),
		internalsFailed: m.counter(signal.InternalsFailed, "{failure}",
			"How often something that redial knows of gRPC or Go did not hold, so that a value is unknown."),
		addresses: m.gauge(signal.ResolveAddresses, "{address}", "Addresses in the newest answer of the name resolver."),
	}
	s.gauges = m.gauges()
	return s, errors.Join(m.errs...)
}

// Observe makes the gauges show what there is at each collection, until [Sink.Close].
func (s *Sink) Observe(count func() sample.ByTarget) error { return s.gauges.open(count) }

// Close stops the observation of gauges.
func (s *Sink) Close() error { return s.gauges.close() }

// Dropped counts events that did not reach a sink, or that it lost.
func (s *Sink) Dropped(sink string, n int64) { s.dropped.Add(context.Background(), n, s.of(sink)) }

// Suppressed counts a root span that a sink left out.
func (s *Sink) Suppressed(sink string) { s.suppressed.Add(context.Background(), 1, s.of(sink)) }

func (s *Sink) of(sink string) metric.AddOption {
	if made, ok := s.bySink.Load(sink); ok {
		return made.(metric.AddOption)
	}
	made := metric.WithAttributeSet(attribute.NewSet(signal.SinkName.String(sink)))
	s.bySink.Store(sink, made)
	return made
}

// ChannelOpened counts channels that were made.
func (s *Sink) ChannelOpened(target string, n int64) {
	s.gauges.see(target)
	s.opened.Add(context.Background(), n, metric.WithAttributes(signal.Target.String(target)))
}

// TargetOverflowed counts channels whose target has no name of its own, since there are too many.
func (s *Sink) TargetOverflowed(n int64) { s.overflowed.Add(context.Background(), n) }

// Unattributed counts connections that belong to no subchannel known.
func (s *Sink) Unattributed(n int64) { s.unattributed.Add(context.Background(), n) }

// InternalsFailed counts how often a fact about gRPC or Go did not hold.
func (s *Sink) InternalsFailed(fact string, n int64) {
	s.internalsFailed.Add(context.Background(), n, metric.WithAttributes(signal.Fact.String(fact)))
}

// Handle records what an event measures. The context carries the span for exemplars. It must be called by one goroutine
// at a time.
func (s *Sink) Handle(ctx context.Context, e event.Event) {
	target := e.EventHeader().Target
	switch e := e.(type) {
	case event.ConnectEnded:
		if e.Outcome == event.OutcomeContinued {
			return // The episode goes on, and is measured as a whole.
		}
		s.connect.Record(ctx, e.Time.Sub(e.Start).Seconds(),
			s.with(series{target: target, trigger: e.Trigger, outcome: e.Outcome}))
	case event.AttemptEnded:
		if e.Outcome == event.OutcomeContinued {
			return
		}
		s.attempt.Record(ctx, e.Time.Sub(e.Start).Seconds(),
			s.with(series{target: target, outcome: e.Outcome, phase: e.Phase, errorType: e.ErrorType}))
	case event.PhaseEnded:
		s.phase.Record(ctx, e.Time.Sub(e.Start).Seconds(),
			s.with(series{target: target, phase: e.Phase, errorType: e.ErrorType}))
	case event.BackoffEnded:
		s.backoff.Record(ctx, e.Time.Sub(e.Start).Seconds(), s.with(series{target: target, outcome: e.Outcome}))
	case event.TransportEnded:
		s.transportEnded(ctx, e)
	case event.PickWaitEnded:
		s.pickWait.Record(ctx, e.Time.Sub(e.Start).Seconds(),
			s.with(series{target: target, outcome: e.Outcome, reason: e.Reason}))
	case event.RPCRefused:
		s.unavailable.Add(ctx, 1, s.with(series{target: target, errorType: e.ErrorType}))
	case event.Resolved:
		if e.Outcome == event.OutcomeContinued {
			return // It goes on, and is measured as a whole.
		}
		of := s.with(series{target: target, outcome: e.Outcome})
		s.answers.Add(ctx, 1, of)
		if e.Measured() {
			s.resolve.Record(ctx, e.Time.Sub(e.Start).Seconds(), of)
		}
		if e.Err == nil || errors.Is(e.Err, failure.ErrNoAddresses) {
			s.addresses.Record(ctx, int64(e.Addresses), s.with(series{target: target}))
		}
		if e.Addresses > 0 {
			s.gauges.resolve(target, e.Time)
		}
	}
}

func (s *Sink) transportEnded(ctx context.Context, e event.TransportEnded) {
	if e.Outcome == event.OutcomeInterrupted {
		return // It lives on, unobserved.
	}
	of := series{target: e.Target, cause: e.Cause}
	if e.Interrupted > 0 {
		s.interrupted.Add(ctx, e.Interrupted, s.with(of))
	}
	if e.HTTP2ErrorCode != "" {
		of.code = failure.KnownCode(e.HTTP2ErrorCode)
	}
	s.transport.Record(ctx, e.Gone.Sub(e.Start).Seconds(), s.with(of))
}

// series is what distinguishes the series of an instrument. What is empty is no attribute.
type series struct {
	target    string
	trigger   event.Trigger
	outcome   event.Outcome
	phase     event.Phase
	errorType string
	reason    event.WaitReason
	cause     event.Cause
	code      string
}

// with returns the attributes of a series. They are made once: there are no more than series.
func (s *Sink) with(of series) metric.MeasurementOption {
	if made, ok := s.attributes[of]; ok {
		return made
	}
	var kvs []attribute.KeyValue
	for _, kv := range []attribute.KeyValue{
		signal.Target.String(of.target), signal.Trigger.String(string(of.trigger)), signal.Outcome.String(string(of.outcome)),
		signal.PhaseName.String(string(of.phase)), signal.WaitReason.String(string(of.reason)),
		semconv.ErrorTypeKey.String(of.errorType),
		signal.TeardownCause.String(string(of.cause)), signal.HTTP2ErrorCode.String(of.code),
	} {
		if kv.Value.AsString() != "" {
			kvs = append(kvs, kv)
		}
	}
	made := metric.WithAttributeSet(attribute.NewSet(kvs...))
	s.attributes[of] = made
	return made
}
