// Package spans makes OpenTelemetry spans from events. Spans start and end with the events' own times.
package spans

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
	"github.com/redial-dev/redial/internal/attributes"
	"github.com/redial-dev/redial/internal/signal"
)

// Sink makes spans. Handle must be called by one goroutine at a time, the other methods by any.
type Sink struct {
	tracer     trace.Tracer
	spans      *spanTable
	limiter    rateLimiter // Of Handle's goroutine.
	suppressed func()
}

// New returns a sink that makes spans with the tracer: no more than the given number of root spans a second for each
// target, and any number where that is zero. It calls suppressed for each root span that it leaves out, with all that
// would be below.
func New(tracer trace.Tracer, perSecond float64, suppressed func()) *Sink {
	return &Sink{tracer: tracer, spans: newSpanTable(), limiter: newRateLimiter(perSecond), suppressed: suppressed}
}

// Handle makes, changes or ends the span that an event belongs to, and returns a context with it and nothing else.
func (s *Sink) Handle(e event.Event) context.Context {
	var span trace.Span
	switch e := e.(type) {
	case event.ConnectStarted:
		span = s.connectStarted(e)
	case event.ConnectEnded:
		span = s.end(e.Episode, e, e.Time, e.Err)
	case event.AttemptStarted:
		span = s.attemptStarted(e)
	case event.AttemptEnded:
		span = s.end(e.Attempt, e, e.Time, e.Err)
	case event.PhaseEnded:
		span = s.phaseEnded(e)
	case event.BackoffEnded:
		span = s.backoffEnded(e)
	case event.TransportReady:
		span = s.transportReady(e)
	case event.TransportDraining:
		span = s.transportNoted(e.Transport, signal.Draining, e)
	case event.TransportStalled:
		span = s.transportNoted(e.Transport, signal.Stalled, e)
	case event.TransportRecovered:
		span = s.transportNoted(e.Transport, signal.Recovered, e)
	case event.TransportUnhealthy:
		span = s.transportNoted(e.Transport, signal.Unhealthy, e)
	case event.TransportHealthy:
		span = s.transportNoted(e.Transport, signal.Healthy, e)
	case event.TransportEnded:
		span = s.transportEnded(e)
	case event.Resolved:
		span = s.resolved(e)
	case event.PickWaitEnded:
		span = s.pickWaitEnded(e)
	case event.RPCRefused:
		span = trace.SpanFromContext(e.Context)
	}
	if span == nil {
		return context.Background()
	}
	return trace.ContextWithSpan(context.Background(), span)
}

// allowed reports whether a span of a trace of its own may be made now, or there are too many.
func (s *Sink) allowed(h event.Header) bool {
	if s.limiter.take(h.Target, h.Time) {
		return true
	}
	s.suppressed()
	return false
}

// root starts a span of a trace of its own, with the attributes of the event that made it.
func (s *Sink) root(name string, start time.Time, e event.Event, opts ...trace.SpanStartOption) trace.Span {
	return s.start(context.Background(), name, start, e, append(opts, trace.WithNewRoot())...)
}

// child starts a span below another, or returns nil if that was never made. It may have ended: a backoff outlasts its
// chapter.
func (s *Sink) child(
	above event.ID, name string, start time.Time, e event.Event, opts ...trace.SpanStartOption,
) trace.Span {
	parent := s.spans.context(above)
	if !parent.IsValid() {
		return nil
	}
	return s.start(trace.ContextWithSpanContext(context.Background(), parent), name, start, e, opts...)
}

func (s *Sink) start(
	ctx context.Context, name string, at time.Time, e event.Event, opts ...trace.SpanStartOption,
) trace.Span {
	kvs := list().Header(e.EventHeader()).Span(e)
	_, span := s.tracer.Start(ctx, name, append(opts, trace.WithTimestamp(at), trace.WithAttributes(kvs...))...)
	return span
}

// end ends the open span with the id, if there is one, with what the event says of it.
func (s *Sink) end(id event.ID, e event.Event, at time.Time, err error) trace.Span {
	span := s.spans.end(id)
	if span != nil {
		span.SetAttributes(list().Span(e)...)
		end(span, at, err)
	}
	return span
}

// end ends a span at its time, with an error's text as its status if there is one.
func end(span trace.Span, at time.Time, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End(trace.WithTimestamp(at))
}

// list returns an empty list with room for what nearly all spans have.
func list() attributes.List { return make(attributes.List, 0, 16) }

func (s *Sink) connectStarted(e event.ConnectStarted) trace.Span {
	if !s.allowed(e.Header) {
		return nil
	}
	span := s.root(signal.Connect, e.Time, e,
		trace.WithLinks(s.spans.links(e.Lost)...), trace.WithLinks(s.spans.links(e.Previous)...))
	s.spans.start(e.Episode, span)
	return span
}

func (s *Sink) attemptStarted(e event.AttemptStarted) trace.Span {
	span := s.child(e.Episode, signal.Attempt, e.Time, e,
		trace.WithSpanKind(trace.SpanKindClient), trace.WithLinks(s.spans.links(e.Previous)...))
	if span != nil {
		s.spans.start(e.Attempt, span)
	}
	return span
}

func (s *Sink) phaseEnded(e event.PhaseEnded) trace.Span {
	span := s.child(e.Attempt, signal.Phase(string(e.Phase)), e.Start, e)
	if span == nil {
		return nil
	}
	for _, d := range e.DialAttempts {
		span.AddEvent(signal.DialTried, trace.WithTimestamp(d.At), trace.WithAttributes(attributes.List{}.DialAttempt(d)...))
	}
	end(span, e.Time, e.Err)
	return span
}

func (s *Sink) backoffEnded(e event.BackoffEnded) trace.Span {
	span := s.child(e.Episode, signal.Backoff, e.Start, e)
	if span != nil {
		end(span, e.Time, nil)
	}
	return span
}

func (s *Sink) transportReady(e event.TransportReady) trace.Span {
	if !s.allowed(e.Header) {
		return nil
	}
	// Its other attributes come with its end: it is kept in memory as long as the connection lives.
	_, span := s.tracer.Start(context.Background(), signal.Transport, trace.WithNewRoot(), trace.WithTimestamp(e.Time),
		trace.WithAttributes(make(attributes.List, 0, 4).Header(e.Header)...), trace.WithLinks(s.spans.links(e.Episode)...))
	s.spans.start(e.Transport, span)
	return span
}

// transportNoted adds an event to a transport's open span.
func (s *Sink) transportNoted(transport event.ID, name string, e event.Event) trace.Span {
	span := s.spans.span(transport)
	if span != nil {
		at := e.EventHeader().Time
		span.AddEvent(name, trace.WithTimestamp(at), trace.WithAttributes(attributes.List{}.Span(e)...))
	}
	return span
}

func (s *Sink) transportEnded(e event.TransportEnded) trace.Span {
	span := s.spans.end(e.Transport)
	if span == nil {
		return nil
	}
	span.SetAttributes(list().Span(e)...)
	if e.Outcome != event.OutcomeInterrupted && e.Cause.Unexpected() {
		span.SetStatus(codes.Error, lossText(e))
	}
	end(span, e.Gone, nil)
	return span
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

func (s *Sink) resolved(e event.Resolved) trace.Span {
	if !s.allowed(e.Header) {
		return nil
	}
	span := s.root(signal.Resolve, e.Start, e)
	end(span, e.Time, e.Err)
	return span
}

func (s *Sink) pickWaitEnded(e event.PickWaitEnded) trace.Span {
	span := s.start(e.Context, signal.PickWait, e.Start, e, trace.WithLinks(s.spans.links(e.Episode)...))
	end(span, e.Time, e.Err)
	return span
}

// Refused marks the span of an RPC that failed for want of a READY subchannel. It must be called before the RPC ends.
func (s *Sink) Refused(e event.RPCRefused) {
	span := trace.SpanFromContext(e.Context)
	s.link(span, e.Episode)
	span.AddEvent(signal.Unavailable, trace.WithTimestamp(e.Time), trace.WithAttributes(attributes.List{}.Span(e)...))
}

// Killed marks the span of an RPC that died with its transport. It must be called before the RPC ends.
func (s *Sink) Killed(ctx context.Context, transport event.ID, cause event.Cause) {
	span := trace.SpanFromContext(ctx)
	s.link(span, transport)
	span.AddEvent(signal.TransportLost, trace.WithAttributes(attributes.List{}.Cause(cause)...))
}

// TimedOut marks the span of an RPC that got no answer until its deadline. It must be called before the RPC ends.
func (s *Sink) TimedOut(ctx context.Context, transport event.ID, path failure.Path, tcp *event.TCP) {
	span := trace.SpanFromContext(ctx)
	s.link(span, transport)
	span.AddEvent(signal.DeadlineExceeded, trace.WithAttributes(attributes.List{}.Path(string(path), tcp)...))
}

func (s *Sink) link(span trace.Span, to event.ID) {
	for _, link := range s.spans.links(to) {
		span.AddLink(link)
	}
}
