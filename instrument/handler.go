package instrument

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel"
	"google.golang.org/grpc"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/stats"

	"github.com/redial-dev/redial/instrument/internal/guard"
	"github.com/redial-dev/redial/instrument/internal/hooks"
	"github.com/redial-dev/redial/instrument/internal/hooks/grpcinternals"
	"github.com/redial-dev/redial/instrument/internal/hooks/record"
	"github.com/redial-dev/redial/instrument/internal/metrics"
	"github.com/redial-dev/redial/instrument/internal/spans"
	"github.com/redial-dev/redial/instrument/snapshot"
	"github.com/redial-dev/redial/internal/report"
	"github.com/redial-dev/redial/internal/target"
	"github.com/redial-dev/redial/internal/text"
)

// Handler observes the channels that are made with its [Handler.DialOption]. One Handler serves any number of
// channels at once, and its methods may be called from any goroutine. Closing a channel needs no call to its handler.
//
// An RPC that is killed by a teardown, fails for want of a connection or gets no answer until its deadline has this
// noted on its own span, if that is open when gRPC reports the RPC's end: give a handler that makes the RPC's span (as
// otelgrpc's) after this one.
type Handler struct {
	metrics  *metrics.Sink
	events   *events
	observer *record.Observer
}

// NewHandler returns a handler that observes no channel yet. What goes wrong in redial itself, now or later, is
// reported to otel.Handle and nowhere else. A provider that fails, panics or takes more than 5 s to make a tracer or
// instruments is reported there too, and what it did not make records nothing.
func NewHandler(opts ...Option) *Handler {
	cfg := newConfig(opts)
	faults := report.New(report.Async(otel.Handle))
	setUp := newSetUp(cfg)
	tracer, err := setUp.tracer()
	targets := newTargets(cfg, faults)
	made := setUp.instruments(targets.nameOfDialed)
	spanSink := spans.New(tracer, cfg.spanRate, func() { made.sink.Suppressed("spans") })
	events := newEvents(cfg, faults, targets, made, spanSink)
	events.report("tracer", err)
	events.report("instruments", made.err)
	observer := record.New(record.Config{
		Target: func(t resolver.Target) (string, text.Cleaner) {
			return events.nameChannel(t.String()), text.NewCleaner(target.Secrets(t))
		},
		Backoff:      cfg.shortestBackoff,
		BackoffKnown: cfg.backoffKnown,
		SampleEvery:  cfg.tcpEvery,
		Asker:        cfg.asker,
		Events:       events,
		Notes:        spanSink,
		Faults:       faults,
	})
	events.report("gauges", setUp.observe(made, observer.Counts))
	//lint:ignore SA1019 It is compared with what redial looks for, and nothing depends on it.
	for _, fact := range grpcinternals.FailedAtStart(grpc.ErrClientConnClosing) {
		events.InternalsFailed(fact)
	}
	return &Handler{
		metrics: made.sink, events: events, observer: observer,
	}
}

// DialOption makes the handler observe the channel that is given it. Call it for each channel. An option that is given
// to several channels observes them too, but redial does not know then which of them an RPC belongs to before a picker
// has seen it. Waits for a stream are then seen only of RPCs that begin while a channel of the handler is not READY,
// and an RPC that dies before a picker has seen it only while one channel alone is not READY.
func (h *Handler) DialOption() grpc.DialOption { return grpc.WithStatsHandler(h.StatsHandler()) }

// StatsHandler returns what [Handler.DialOption] gives to gRPC, for code that takes a stats.Handler. It must reach
// gRPC as it is: a wrapper around it hides that it takes gRPC's metrics too, and the channel is then not observed.
func (h *Handler) StatsHandler() stats.Handler { return hooks.NewHandler(h.observer, h.events) }

// ErrShutdownInSink is what [Handler.Shutdown] returns to a sink, a span processor or a meter that calls it while it
// handles an event: it would wait for itself. Call it from another goroutine.
var ErrShutdownInSink = errors.New("redial: Shutdown was called by a sink that handles an event, and did nothing: " +
	"call it from a goroutine of its own")

// Shutdown ends every open span, with the outcome "interrupted", and waits until the sinks have handled all events or
// the context is done, whose error it returns then. From then on the handler does nothing; its channels live on. Shut
// down the OpenTelemetry providers after it. A second call only waits. It must not be called by a sink, see
// [ErrShutdownInSink].
func (h *Handler) Shutdown(ctx context.Context) error {
	if h.events.queue.Handling() {
		return ErrShutdownInSink
	}
	h.observer.Close()
	closed := make(chan error, 1)
	go func() { closed <- guard.Catch(h.metrics.Close) }() // A meter may block.
	err := h.events.queue.Wait(ctx)
	select {
	case unregistered := <-closed:
		return errors.Join(unregistered, err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Channels describes what the handler's open channels are doing now, by their ids. A channel is locked for the
// microseconds that its own description takes. After Shutdown there are none.
func (h *Handler) Channels() []snapshot.Channel { return h.observer.Snapshot() }

// CountDropped counts, in redial.events.dropped, what a sink of yours lost: it keeps a queue of its own that was
// full, or could not deliver. The name of the sink becomes an attribute, so there should be few. It never blocks.
func (h *Handler) CountDropped(sink string, n int64) { h.events.Dropped(sink, n) }
