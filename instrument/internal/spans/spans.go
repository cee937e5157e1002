// Package spans makes OpenTelemetry spans of events. Spans start and end with the events' own times.
package spans

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/signal"
)

// Sink makes spans. Handle must be called by one goroutine at a time, the other methods by any.
type Sink struct {
	tracer     trace.Tracer
	spans      *spanTable
	limiter    rateLimiter // Of Handle's goroutine.
	suppressed func()
}

// New returns a sink that makes spans with the tracer: no more than so many root spans a second for each target, and any
// number where that is zero. It tells of each root span that it leaves out, with all that would be below.
func New(tracer trace.Tracer, perSecond float64, suppressed func()) *Sink {
	return &Sink{tracer: tracer, spans: newSpanTable(), limiter: newRateLimiter(perSecond), suppressed: suppressed}
}

// Handle makes, changes or ends the span that an event tells of, and returns a context with it and nothing else.
func (s *Sink) Handle(e event.Event) context.Context {
	switch e := e.(type) {
	case event.ConnectStarted:
		return s.connectStarted(e)
	case event.ConnectEnded:
		return s.connectEnded(e)
	case event.AttemptStarted:
		return s.attemptStarted(e)
	case event.AttemptEnded:
		return s.attemptEnded(e)
	case event.PhaseEnded:
		return s.phaseEnded(e)
	case event.BackoffEnded:
		return s.backoffEnded(e)
	case event.TransportReady:
		return s.transportReady(e)
	case event.TransportDraining:
		return s.transportDraining(e)
	case event.TransportEnded:
		return s.transportEnded(e)
	case event.Resolved:
		return s.resolved(e)
	case event.PickWaitEnded:
		return s.pickWaitEnded(e)
	case event.RPCRefused:
		return with(trace.SpanFromContext(e.Context))
	}
	return context.Background()
}

// allowed reports whether a span of a trace of its own may be made now, or there are too many.
func (s *Sink) allowed(h event.Header) bool {
	if s.limiter.take(h.Target, h.Time) {
		return true
	}
	s.suppressed()
	return false
}

// root starts a span of a trace of its own.
func (s *Sink) root(name string, start time.Time, kvs attributes, opts ...trace.SpanStartOption) trace.Span {
	opts = append(opts, trace.WithNewRoot(), trace.WithTimestamp(start), trace.WithAttributes(kvs...))
	_, span := s.tracer.Start(context.Background(), name, opts...)
	return span
}

// child starts a span below another. That may have ended: a backoff outlasts its chapter.
func (s *Sink) child(above trace.SpanContext, name string, start time.Time, kvs attributes, opts ...trace.SpanStartOption) trace.Span {
	opts = append(opts, trace.WithTimestamp(start), trace.WithAttributes(kvs...))
	_, span := s.tracer.Start(trace.ContextWithSpanContext(context.Background(), above), name, opts...)
	return span
}

func with(span trace.Span) context.Context { return trace.ContextWithSpan(context.Background(), span) }

func (s *Sink) connectStarted(e event.ConnectStarted) context.Context {
	if !s.allowed(e.Header) {
		return context.Background()
	}
	span := s.root(signal.Connect, e.Time, of(e.Header).add(signal.Trigger.String(string(e.Trigger))),
		trace.WithLinks(s.spans.links(e.Lost)...), trace.WithLinks(s.spans.links(e.Previous)...))
	s.spans.start(e.Episode, span)
	return with(span)
}

func (s *Sink) connectEnded(e event.ConnectEnded) context.Context {
	span := s.spans.end(e.Episode)
	if span == nil {
		return context.Background()
	}
	span.SetAttributes(attributes{
		signal.Outcome.String(string(e.Outcome)), signal.Attempts.Int(e.Attempts),
		signal.BackoffTotal.Float64(e.Backoff.Seconds()), signal.RPCsWaited.Int(e.RPCsWaited),
	}.failure(e.Err, e.ErrorType)...)
	end(span, e.Time, e.Err)
	return with(span)
}

func (s *Sink) attemptStarted(e event.AttemptStarted) context.Context {
	above := s.spans.context(e.Episode)
	if !above.IsValid() {
		return context.Background()
	}
	span := s.child(above, signal.Attempt, e.Time, of(e.Header).server(e.Address).add(signal.AttemptNumber.Int(e.Number)),
		trace.WithSpanKind(trace.SpanKindClient))
	s.spans.start(e.Attempt, span)
	return with(span)
}

func (s *Sink) attemptEnded(e event.AttemptEnded) context.Context {
	span := s.spans.end(e.Attempt)
	if span == nil {
		return context.Background()
	}
	kvs := make(attributes, 0, most).conn(e.Conn).add(signal.Outcome.String(string(e.Outcome)))
	if e.Phase != "" {
		kvs = kvs.add(signal.PhaseName.String(string(e.Phase)))
	}
	span.SetAttributes(kvs.failure(e.Err, e.ErrorType)...)
	end(span, e.Time, e.Err)
	return with(span)
}

func (s *Sink) phaseEnded(e event.PhaseEnded) context.Context {
	above := s.spans.context(e.Attempt)
	if !above.IsValid() {
		return context.Background()
	}
	kvs := of(e.Header).tls(e.TLS)
	if e.Phase == event.PhaseDial {
		kvs = kvs.conn(e.Conn)
	}
	span := s.child(above, signal.Phase(string(e.Phase)), e.Start, kvs.failure(e.Err, e.ErrorType))
	for _, tried := range e.DialAttempts {
		span.AddEvent(signal.Tried, trace.WithTimestamp(tried.At), trace.WithAttributes(attributes{}.server(tried.Address)...))
	}
	end(span, e.Time, e.Err)
	return with(span)
}

func (s *Sink) backoffEnded(e event.BackoffEnded) context.Context {
	above := s.spans.context(e.Episode)
	if !above.IsValid() {
		return context.Background()
	}
	span := s.child(above, signal.Backoff, e.Start, of(e.Header).add(
		signal.Outcome.String(string(e.Outcome)), signal.BackoffDelay.Float64(e.Time.Sub(e.Start).Seconds())))
	end(span, e.Time, nil)
	return with(span)
}

func (s *Sink) transportReady(e event.TransportReady) context.Context {
	if !s.allowed(e.Header) {
		return context.Background()
	}
	// Its other attributes come with its end: it is kept in memory as long as the connection lives.
	span := s.root(signal.Transport, e.Time, of(e.Header), trace.WithLinks(s.spans.links(e.Episode)...))
	s.spans.start(e.Transport, span)
	return with(span)
}

func (s *Sink) transportDraining(e event.TransportDraining) context.Context {
	span := s.spans.span(e.Transport)
	if span == nil {
		return context.Background()
	}
	span.AddEvent(signal.Draining, trace.WithTimestamp(e.Time), trace.WithAttributes(attributes{
		signal.TeardownCause.String(string(e.Cause)), signal.RPCsInFlight.Int64(e.InFlight),
	}.disconnect(e.DisconnectError)...))
	return with(span)
}

func (s *Sink) transportEnded(e event.TransportEnded) context.Context {
	span := s.spans.end(e.Transport)
	if span == nil {
		return context.Background()
	}
	kvs := make(attributes, 0, 2*most).server(e.Address).conn(e.Conn)
	if e.Outcome == event.OutcomeInterrupted { // The transport lives on, unobserved.
		span.SetAttributes(kvs.add(signal.Outcome.String(string(e.Outcome)))...)
	} else {
		span.SetAttributes(kvs.add(signal.TeardownCause.String(string(e.Cause)), signal.RPCsInFlight.Int64(e.InFlight),
			signal.RPCsInterrupted.Int64(e.Interrupted), signal.RPCsRetried.Int64(e.Retried)).
			disconnect(e.DisconnectError).goAway(e).tcp(e.TCP)...)
		if e.Cause.Unexpected() {
			span.SetStatus(codes.Error, lossText(e))
		}
	}
	end(span, e.Gone, nil)
	return with(span)
}

func lossText(e event.TransportEnded) string {
	if e.RPCError != "" {
		return e.RPCError
	}
	if e.DisconnectError != "" {
		return e.DisconnectError
	}
	return string(e.Cause)
}

func (s *Sink) resolved(e event.Resolved) context.Context {
	if !s.allowed(e.Header) {
		return context.Background()
	}
	span := s.root(signal.Resolve, e.Start, of(e.Header).add(
		signal.Outcome.String(string(e.Outcome)), signal.Addresses.Int(e.Addresses)).failure(e.Err, e.ErrorType))
	end(span, e.Time, e.Err)
	return with(span)
}

func (s *Sink) pickWaitEnded(e event.PickWaitEnded) context.Context {
	kvs := of(e.Header).add(signal.Outcome.String(string(e.Outcome))).failure(e.Err, e.ErrorType)
	_, span := s.tracer.Start(e.Context, signal.PickWait, trace.WithTimestamp(e.Start),
		trace.WithLinks(s.spans.links(e.Episode)...), trace.WithAttributes(kvs...))
	end(span, e.Time, e.Err)
	return with(span)
}

// Refused marks the span of an RPC that failed for want of a READY subchannel. It must be called before the RPC ends.
func (s *Sink) Refused(e event.RPCRefused) {
	span := trace.SpanFromContext(e.Context)
	for _, link := range s.spans.links(e.Episode) {
		span.AddLink(link)
	}
	span.AddEvent(signal.Unavailable, trace.WithTimestamp(e.Time), trace.WithAttributes(errorType(e.ErrorType)))
}

// Killed marks the span of an RPC that died with its transport. It must be called before the RPC ends.
func (s *Sink) Killed(ctx context.Context, transport event.ID, cause event.Cause) {
	span := trace.SpanFromContext(ctx)
	for _, link := range s.spans.links(transport) {
		span.AddLink(link)
	}
	span.AddEvent(signal.TransportLost, trace.WithAttributes(signal.TeardownCause.String(string(cause))))
}
