package instrument

import (
	"errors"
	"sync"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"

	"github.com/redial-dev/redial/instrument/event"
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

// events takes what the hooks find out to the sinks.
type events struct {
	spans   *spans.Sink
	metrics *metrics.Sink
	tcp     *metrics.TCP // Nil where sockets are not sampled.
	sinks   []event.Sink
	queue   *queue.Queue

	unattributed sync.Once
}

var _ record.Events = (*events)(nil)

func newEvents(
	cfg config, meter metric.Meter, metricSink *metrics.Sink, spanSink *spans.Sink, faults *report.Limiter,
) *events {
	e := &events{spans: spanSink, metrics: metricSink, sinks: cfg.sinks}
	if cfg.tcpEvery > 0 {
		var err error
		e.tcp, err = metrics.NewTCP(meter)
		handle(err)
	}
	e.queue = queue.New(queueSize, e.handle, func() { metricSink.Dropped("queue", 1) },
		func(err error) { faults.Report(ofSink, err) })
	return e
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
	ctx := e.spans.Handle(one)
	e.metrics.Handle(ctx, one)
	for _, s := range e.sinks {
		s.Handle(ctx, one)
	}
}

// Sampled implements [record.Events].
func (e *events) Sampled(s sample.TCP) { e.tcp.Record(s) }

// PickOverflowed implements [record.Events].
func (e *events) PickOverflowed() { e.metrics.Dropped("waits", 1) }

var errNotAttached = errors.New("redial: a connection belongs to no observed subchannel: its load balancing policy " +
	"makes subchannels by itself (register it as instrument.WrapBalancer of itself), or package " +
	"google.golang.org/grpc was initialised before redial (import github.com/redial-dev/redial/instrument in package " +
	"main); " +
	"redial.transport.unattributed counts such connections")

// Unattributed implements [record.Events].
func (e *events) Unattributed() {
	e.metrics.Unattributed()
	e.unattributed.Do(func() { otel.Handle(errNotAttached) })
}
