package instrument

import (
	"context"
	"errors"
	"sync"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	estats "google.golang.org/grpc/experimental/stats"
	"google.golang.org/grpc/stats"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/hooks"
	"github.com/redial-dev/redial/instrument/internal/metrics"
	"github.com/redial-dev/redial/instrument/internal/queue"
	"github.com/redial-dev/redial/instrument/internal/sample"
	"github.com/redial-dev/redial/instrument/internal/spans"
	"github.com/redial-dev/redial/instrument/snapshot"
	"github.com/redial-dev/redial/internal/signal"
)

const (
	// queueSize bounds the events that wait for the sinks: some 100 ms of a storm of 100 000 events per second.
	queueSize = 1 << 14
	// queueShare is the room in the queue that each subchannel brings along: all may be lost and connect again at once.
	queueShare = 16
)

var (
	_ stats.Handler          = (*Handler)(nil)
	_ estats.MetricsRecorder = (*Handler)(nil)
)

// Handler observes the channels that are made with grpc.WithStatsHandler(handler). One Handler serves any number of
// channels at once, and its methods may be called from any goroutine. Closing a channel needs no call to its handler.
//
// An RPC that is killed by a teardown or fails for want of a connection has this noted on its own span, if that is
// open when gRPC tells of the RPC's end: give a handler that makes the RPC's span (as otelgrpc's) after this one.
type Handler struct {
	estats.UnimplementedMetricsRecorder

	cfg      config
	targets  *targets // By their canonical names.
	observer *hooks.Observer
	queue    *queue.Queue
	spans    *spans.Sink
	metrics  *metrics.Sink
	grpc     *metrics.GRPC // Nil where gRPC's own metrics are not passed on.
	tcp      *metrics.TCP  // Nil where sockets are not sampled.

	unattributed sync.Once
}

// DialOption is short for grpc.WithStatsHandler(NewHandler(opts...)). The option may be given to several channels.
func DialOption(opts ...Option) grpc.DialOption {
	return grpc.WithStatsHandler(NewHandler(opts...))
}

// NewHandler returns a handler for grpc.WithStatsHandler. What goes wrong in redial itself, now or later, is told to
// otel.Handle and to nobody else.
func NewHandler(opts ...Option) *Handler {
	cfg := newConfig(opts)
	h := &Handler{cfg: cfg, targets: newTargets(cfg)}
	h.queue = queue.New(queueSize, h.handle, func() { h.metrics.Dropped("queue", 1) }, otel.Handle)
	h.observer = hooks.NewObserver(hooks.Config{
		Target:       h.target,
		Backoff:      h.cfg.shortestBackoff,
		Emit:         h.emit,
		Refused:      func(e event.RPCRefused) { h.spans.Refused(e) },
		Killed:       func(ctx context.Context, t event.ID, c event.Cause) { h.spans.Killed(ctx, t, c) },
		Overflow:     func() { h.metrics.Dropped("waits", 1) },
		Sampled:      func(s sample.TCP) { h.tcp.Record(s) },
		SampleEvery:  h.cfg.tcpEvery,
		Unattributed: h.notAttached,
		Fault:        otel.Handle,
	})
	h.spans = spans.New(h.cfg.tracerProvider.Tracer(ScopeName,
		trace.WithInstrumentationVersion(Version), trace.WithSchemaURL(semconv.SchemaURL)),
		h.cfg.spanRate, func() { h.metrics.Suppressed("spans") })
	meter := h.cfg.meterProvider.Meter(ScopeName,
		metric.WithInstrumentationVersion(Version), metric.WithSchemaURL(semconv.SchemaURL))
	var err error
	if h.metrics, err = metrics.New(meter, h.observer.Counts); err != nil {
		otel.Handle(err)
	}
	if h.cfg.tcpEvery > 0 {
		if h.tcp, err = metrics.NewTCP(meter); err != nil {
			otel.Handle(err)
		}
	}
	if !h.cfg.withoutGRPC {
		if h.grpc, err = metrics.NewGRPC(meter, newTargets(cfg).name); err != nil {
			otel.Handle(err)
		}
	}
	return h
}

// target returns what is told of the target of a new channel.
func (h *Handler) target(canonical string) string {
	name, overflow := h.targets.name(canonical)
	h.metrics.ChannelOpened(name)
	if overflow {
		h.metrics.TargetOverflowed()
	}
	return name
}

// emit takes an event from the hooks.
func (h *Handler) emit(e event.Event) {
	if s, ok := e.(event.SubchannelState); ok && s.From == "" {
		h.queue.Grow(queueShare)
	}
	if !h.queue.Add(e) {
		h.shrink(e)
	}
}

// shrink takes back the room of a subchannel whose last event is out of the queue.
func (h *Handler) shrink(e event.Event) {
	if s, ok := e.(event.SubchannelState); ok && s.To == event.StateShutdown {
		h.queue.Grow(-queueShare)
	}
}

// handle hands an event to the sinks.
func (h *Handler) handle(e event.Event) {
	h.shrink(e)
	ctx := h.spans.Handle(e)
	h.metrics.Handle(ctx, e)
	for _, s := range h.cfg.sinks {
		s.Handle(ctx, e)
	}
}

var errNotAttached = errors.New("redial: a connection belongs to no observed subchannel: its load balancing policy makes " +
	"subchannels by itself (register it as instrument.WrapBalancer of itself), or package google.golang.org/grpc was " +
	"initialised before redial (import github.com/redial-dev/redial/instrument in package main); " +
	"redial.transport.unattributed counts such connections")

func (h *Handler) notAttached() {
	h.metrics.Unattributed()
	h.unattributed.Do(func() { otel.Handle(errNotAttached) })
}

// Shutdown ends every open span, with the outcome "interrupted", and waits until the sinks were told of it or the
// context is done, whose error it returns then. From then on the handler does nothing; its channels live on. Shut
// down the OpenTelemetry providers after it. A second call only waits.
func (h *Handler) Shutdown(ctx context.Context) error {
	h.observer.Close()
	return errors.Join(h.metrics.Close(), h.queue.Wait(ctx))
}

// Channels describes what the handler's open channels are doing now, by their ids. A channel is locked for the
// microseconds that its own description takes. After Shutdown there are none.
func (h *Handler) Channels() []snapshot.Channel { return h.observer.Snapshot() }

// CountDropped counts, in redial.events.dropped, what a sink of yours lost: it keeps a queue of its own that was full, or
// could not deliver. The name of the sink becomes an attribute, so there should be few. It never blocks.
func (h *Handler) CountDropped(sink string, n int64) { h.metrics.Dropped(sink, n) }

// TagRPC implements [stats.Handler].
func (h *Handler) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	return h.observer.TagRPC(ctx, info)
}

// HandleRPC implements [stats.Handler].
func (h *Handler) HandleRPC(ctx context.Context, s stats.RPCStats) { h.observer.HandleRPC(ctx, s) }

// TagConn implements [stats.Handler].
func (h *Handler) TagConn(ctx context.Context, info *stats.ConnTagInfo) context.Context {
	return h.observer.TagConn(ctx, info)
}

// HandleConn implements [stats.Handler].
func (h *Handler) HandleConn(ctx context.Context, s stats.ConnStats) { h.observer.HandleConn(ctx, s) }

// RecordInt64Count implements google.golang.org/grpc/experimental/stats.MetricsRecorder.
func (h *Handler) RecordInt64Count(handle *estats.Int64CountHandle, incr int64, labels ...string) {
	if h.observer.AnswerRollCall(handle, labels) {
		return
	}
	d := handle.Descriptor()
	if d.Name == signal.Disconnections {
		h.observer.Disconnected(label(d, labels, string(signal.DisconnectError)))
	}
	if h.grpc != nil && !h.observer.Closed() {
		h.grpc.Count(d, incr, labels)
	}
}

// RecordInt64UpDownCount implements google.golang.org/grpc/experimental/stats.MetricsRecorder.
func (h *Handler) RecordInt64UpDownCount(handle *estats.Int64UpDownCountHandle, incr int64, labels ...string) {
	if h.grpc != nil && !h.observer.Closed() {
		h.grpc.UpDown(handle.Descriptor(), incr, labels)
	}
}

// label returns the value of a label, or "".
func label(d *estats.MetricDescriptor, labels []string, key string) string {
	for i, value := range labels {
		switch {
		case i < len(d.Labels) && d.Labels[i] == key:
			return value
		case i >= len(d.Labels) && i-len(d.Labels) < len(d.OptionalLabels) && d.OptionalLabels[i-len(d.Labels)] == key:
			return value
		}
	}
	return ""
}
