// Package spans makes OpenTelemetry spans of events. Spans start and end with the events' own times.
package spans

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/signal"
)

// Sink makes spans. Handle must be called by one goroutine at a time, the other methods by any.
type Sink struct {
	tracer     trace.Tracer
	spans      *register
	limit      limit // Of Handle's goroutine.
	suppressed func()
}

// New returns a sink that makes spans with the tracer: no more than so many root spans a second for each target, and any
// number where that is zero. It tells of each root span that it leaves out, with all that would be below.
func New(tracer trace.Tracer, perSecond float64, suppressed func()) *Sink {
	return &Sink{tracer: tracer, spans: newRegister(), limit: newLimit(perSecond), suppressed: suppressed}
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

// root starts a span of a trace of its own, or nothing where there are too many.
func (s *Sink) root(name string, h event.Head, opts ...trace.SpanStartOption) trace.Span {
	if !s.limit.take(h.Target, h.Time) {
		s.suppressed()
		return nil
	}
	opts = append(opts, trace.WithNewRoot(), trace.WithAttributes(headAttributes(h)...))
	_, span := s.tracer.Start(context.Background(), name, opts...)
	return span
}

// child starts a span below another, or nothing where that is not known. The other may have ended: a backoff outlasts
// its chapter.
func (s *Sink) child(parent event.ID, name string, h event.Head, opts ...trace.SpanStartOption) trace.Span {
	above := s.spans.context(parent)
	if !above.IsValid() {
		return nil
	}
	opts = append(opts, trace.WithAttributes(headAttributes(h)...))
	_, span := s.tracer.Start(trace.ContextWithSpanContext(context.Background(), above), name, opts...)
	return span
}

func with(span trace.Span) context.Context {
	if span == nil {
		return context.Background()
	}
	return trace.ContextWithSpan(context.Background(), span)
}

func (s *Sink) connectStarted(e event.ConnectStarted) context.Context {
	span := s.root(signal.Connect, e.Head, trace.WithTimestamp(e.Time), trace.WithLinks(s.spans.links(e.Lost)...),
		trace.WithLinks(s.spans.links(e.Previous)...), trace.WithAttributes(signal.Trigger.String(string(e.Trigger))))
	if span != nil {
		s.spans.start(e.Episode, span)
	}
	return with(span)
}

func (s *Sink) connectEnded(e event.ConnectEnded) context.Context {
	span := s.spans.end(e.Episode)
	if span == nil {
		return context.Background()
	}
	span.SetAttributes(
		signal.Outcome.String(string(e.Outcome)), signal.Attempts.Int(e.Attempts),
		signal.BackoffTotal.Float64(e.Backoff.Seconds()), signal.RPCsWaited.Int(e.RPCsWaited),
	)
	fail(span, e.Err, e.ErrorType)
	span.End(trace.WithTimestamp(e.Time))
	return with(span)
}

func (s *Sink) attemptStarted(e event.AttemptStarted) context.Context {
	span := s.child(e.Episode, signal.Attempt, e.Head, trace.WithTimestamp(e.Time),
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(serverAttributes(e.Address)...),
		trace.WithAttributes(signal.AttemptNumber.Int(e.Number)))
	if span != nil {
		s.spans.start(e.Attempt, span)
	}
	return with(span)
}

func (s *Sink) attemptEnded(e event.AttemptEnded) context.Context {
	span := s.spans.end(e.Attempt)
	if span == nil {
		return context.Background()
	}
	span.SetAttributes(connAttributes(e.Conn)...)
	span.SetAttributes(signal.Outcome.String(string(e.Outcome)))
	if e.Phase != "" {
		span.SetAttributes(signal.PhaseName.String(string(e.Phase)))
	}
	fail(span, e.Err, e.ErrorType)
	span.End(trace.WithTimestamp(e.Time))
	return with(span)
}

func (s *Sink) phaseEnded(e event.PhaseEnded) context.Context {
	span := s.child(e.Attempt, signal.Phase(string(e.Phase)), e.Head, trace.WithTimestamp(e.Start),
		trace.WithAttributes(tlsAttributes(e.TLS)...))
	if span == nil {
		return context.Background()
	}
	if e.Phase == event.Dial {
		span.SetAttributes(connAttributes(e.Conn)...)
	}
	for _, tried := range e.Tried {
		span.AddEvent(signal.Tried, trace.WithTimestamp(tried.At), trace.WithAttributes(serverAttributes(tried.Address)...))
	}
	fail(span, e.Err, e.ErrorType)
	span.End(trace.WithTimestamp(e.Time))
	return with(span)
}

func (s *Sink) backoffEnded(e event.BackoffEnded) context.Context {
	span := s.child(e.Episode, signal.Backoff, e.Head, trace.WithTimestamp(e.Start), trace.WithAttributes(
		signal.Outcome.String(string(e.Outcome)), signal.BackoffDelay.Float64(e.Time.Sub(e.Start).Seconds())))
	if span == nil {
		return context.Background()
	}
	span.End(trace.WithTimestamp(e.Time))
	return with(span)
}

func (s *Sink) transportReady(e event.TransportReady) context.Context {
	span := s.root(signal.Transport, e.Head, trace.WithTimestamp(e.Time), trace.WithLinks(s.spans.links(e.Episode)...))
	if span != nil { // Its attributes come with its end: it is kept in memory as long as the connection lives.
		s.spans.start(e.Transport, span)
	}
	return with(span)
}

func (s *Sink) transportDraining(e event.TransportDraining) context.Context {
	span := s.spans.span(e.Transport)
	if span == nil {
		return context.Background()
	}
	span.AddEvent(signal.Draining, trace.WithTimestamp(e.Time), trace.WithAttributes(
		signal.TeardownCause.String(string(e.Cause)), signal.RPCsInFlight.Int64(e.InFlight)),
		trace.WithAttributes(disconnectAttribute(e.DisconnectError)...))
	return with(span)
}

func (s *Sink) transportEnded(e event.TransportEnded) context.Context {
	span := s.spans.end(e.Transport)
	if span == nil {
		return context.Background()
	}
	span.SetAttributes(serverAttributes(e.Address)...)
	span.SetAttributes(connAttributes(e.Conn)...)
	if e.Outcome == event.OutcomeInterrupted { // The transport lives on, unobserved.
		span.SetAttributes(signal.Outcome.String(string(e.Outcome)))
	} else {
		tellLoss(span, e)
	}
	span.End(trace.WithTimestamp(e.Gone))
	return with(span)
}

func tellLoss(span trace.Span, e event.TransportEnded) {
	span.SetAttributes(signal.TeardownCause.String(string(e.Cause)), signal.RPCsInFlight.Int64(e.InFlight),
		signal.RPCsInterrupted.Int64(e.Interrupted), signal.RPCsRetried.Int64(e.Retried))
	for _, kvs := range [][]attribute.KeyValue{disconnectAttribute(e.DisconnectError), goAwayAttributes(e), tcpAttributes(e.TCP)} {
		span.SetAttributes(kvs...)
	}
	if e.Cause.Unexpected() {
		span.SetStatus(codes.Error, lossText(e))
	}
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
	span := s.root(signal.Resolve, e.Head, trace.WithTimestamp(e.Start), trace.WithAttributes(
		signal.Outcome.String(string(e.Outcome)), signal.Addresses.Int(e.Addresses)))
	if span == nil {
		return context.Background()
	}
	fail(span, e.Err, e.ErrorType)
	span.End(trace.WithTimestamp(e.Time))
	return with(span)
}

func (s *Sink) pickWaitEnded(e event.PickWaitEnded) context.Context {
	_, span := s.tracer.Start(e.Context, signal.PickWait, trace.WithTimestamp(e.Start),
		trace.WithLinks(s.spans.links(e.Episode)...), trace.WithAttributes(headAttributes(e.Head)...),
		trace.WithAttributes(signal.Outcome.String(string(e.Outcome))))
	fail(span, e.Err, e.ErrorType)
	span.End(trace.WithTimestamp(e.Time))
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
