package instrument

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"google.golang.org/grpc"
	estats "google.golang.org/grpc/experimental/stats"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/guard"
	"github.com/redial-dev/redial/instrument/internal/hooks"
	"github.com/redial-dev/redial/instrument/internal/hooks/grpcinternals"
	"github.com/redial-dev/redial/instrument/internal/hooks/record"
	"github.com/redial-dev/redial/instrument/internal/metrics"
	"github.com/redial-dev/redial/instrument/internal/queue"
	"github.com/redial-dev/redial/instrument/internal/sample"
	"github.com/redial-dev/redial/instrument/internal/spans"
	"github.com/redial-dev/redial/internal/report"
)

const (
	// queueSize bounds the events that wait for the sinks: some 100 ms of a storm of 100 000 events per second.
	queueSize = 1 << 14
	// queueShare is the room in the queue that each subchannel brings along: all may be lost and connect again at once.
	queueShare = 16
)

// events takes what the hooks find out to the sinks. A hook adds and goes on: no sink, tracer or meter is called by the
// goroutine of a hook.
type events struct {
	faults  *report.Limiter
	targets *targets
	spans   *spans.Sink
	metrics *metrics.Sink
	tcp     *metrics.TCP  // Nil where sockets are not sampled.
	grpc    *metrics.GRPC // Nil where gRPC's own metrics are not passed on.
	sinks   []event.Sink
	queue   *queue.Queue

	counts     *tally[count]
	grpcCounts *tally[metrics.GRPCSeries]

	// What the sinks are called in. One that panics keeps no event from the others.
	tracer, meter, sink *guard.Guard

	unattributed sync.Once
	failed       sync.Map // The keys are the grpcinternals.Fact that were reported.
}

var (
	_ record.Events     = (*events)(nil)
	_ hooks.GRPCMetrics = (*events)(nil)
)

// count is one of redial's own counters, with the value of its attribute.
type count struct {
	kind countKind
	of   string
}

type countKind int

const (
	channelOpened countKind = iota
	targetOverflowed
	unattributed
	dropped
	internalsFailed
)

// newEvents returns what takes events to the sinks of redial and of the user.
func newEvents(cfg config, faults *report.Limiter, t *targets, made instruments, s *spans.Sink) *events {
	e := &events{
		faults: faults, targets: t, spans: s, metrics: made.sink, tcp: made.tcp, grpc: made.grpc, sinks: cfg.sinks,
		tracer: guard.New("the tracer provider, or what it was given, panicked", faults),
		meter:  guard.New("the meter provider, or what it was given, panicked", faults),
		sink:   guard.New("a sink panicked", faults),
	}
	e.queue = queue.New(queueSize, e.handle, func() { e.Dropped("queue", 1) }, faults)
	e.counts = newTally(e.queue.Do, e.count)
	if e.grpc != nil {
		e.grpcCounts = newTally(e.queue.Do, func(of metrics.GRPCSeries, n int64) {
			e.meter.Run(func() { e.grpc.Add(of, n) })
		})
	}
	return e
}

// report reports an error, if there is one.
func (e *events) report(kind report.Kind, err error) {
	if err != nil {
		e.faults.Report(kind, err)
	}
}

// Emit implements [record.Events].
func (e *events) Emit(one event.Event) {
	if s, ok := one.(event.SubchannelState); ok && s.From == "" {
		e.queue.Grow(queueShare)
	}
	if !e.queue.Add(one) {
		e.shrink(one)
	}
}

// shrink takes back the room of a subchannel whose last event is out of the queue.
func (e *events) shrink(one event.Event) {
	if s, ok := one.(event.SubchannelState); ok && s.To == event.StateShutdown {
		e.queue.Grow(-queueShare)
	}
}

// handle hands an event to the sinks.
func (e *events) handle(one event.Event) {
	e.shrink(one)
	ctx := guard.Value(e.tracer, context.Background(), func() context.Context { return e.spans.Handle(one) })
	e.meter.Run(func() { e.metrics.Handle(ctx, one) })
	for _, s := range e.sinks {
		e.sink.Run(func() { s.Handle(ctx, one) })
	}
}

// count adds to one of redial's own counters.
func (e *events) count(of count, n int64) {
	e.meter.Run(func() {
		switch of.kind {
		case channelOpened:
			e.metrics.ChannelOpened(of.of, n)
		case targetOverflowed:
			e.metrics.TargetOverflowed(n)
		case unattributed:
			e.metrics.Unattributed(n)
		case dropped:
			e.metrics.Dropped(of.of, n)
		case internalsFailed:
			e.metrics.InternalsFailed(of.of, n)
		}
	})
}

// Sampled implements [record.Events].
func (e *events) Sampled(s sample.TCP) {
	if !e.queue.TryDo(func() { e.meter.Run(func() { e.tcp.Record(s) }) }) {
		e.Dropped("queue", 1)
	}
}

// Dropped counts events that did not reach a sink.
func (e *events) Dropped(sink string, n int64) { e.counts.Add(count{dropped, sink}, n) }

// PickOverflowed implements [record.Events].
func (e *events) PickOverflowed() { e.Dropped("waits", 1) }

// nameChannel returns the name of a new channel's target, and counts the channel.
func (e *events) nameChannel(canonical string) string {
	name, overflowed := e.targets.name(canonical)
	if overflowed {
		e.counts.Add(count{kind: targetOverflowed}, 1)
	}
	e.counts.Add(count{channelOpened, name}, 1)
	return name
}

var errNotAttached = errors.New("redial: a connection belongs to no observed subchannel: its load balancing policy " +
	"makes subchannels by itself (register it as instrument.WrapBalancer of itself), or gRPC is not as redial knows it, " +
	"which another report says; redial.transport.unattributed counts such connections")

// Unattributed implements [record.Events].
func (e *events) Unattributed() {
	e.counts.Add(count{kind: unattributed}, 1)
	e.unattributed.Do(func() { e.faults.Report("not attached", errNotAttached) })
}

// InternalsFailed implements [record.Events].
func (e *events) InternalsFailed(fact grpcinternals.Fact) {
	e.counts.Add(count{internalsFailed, string(fact)}, 1)
	if _, reported := e.failed.LoadOrStore(fact, nil); !reported {
		e.faults.Report(report.Kind(fact), fmt.Errorf("redial %s does not know grpc-go %s with %s well enough (%s): %s; "+
			"take a newer redial, or report it at %s; redial.internals.failed counts this",
			Version, grpc.Version, runtime.Version(), fact, fact.Unknown(), issues))
	}
}

// issues is where users report what is wrong.
const issues = "https://github.com/redial-dev/redial/issues"

// Count implements [hooks.GRPCMetrics].
func (e *events) Count(d *estats.MetricDescriptor, incr int64, labels []string) {
	if e.grpc == nil {
		return
	}
	if series, passed := e.grpc.Series(d, labels); passed {
		e.grpcCounts.Add(series, incr)
	}
}
