// Package delivery stands between the OpenTelemetry SDK and an exporter that may be slow or fail: it bounds what waits,
// counts what is lost, reports failures now and then and not each, and can give up.
package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// reportEvery is the time between two reports.
const reportEvery = time.Minute

// errFull is why a span is lost that finds no room.
var errFull = errors.New("the queue is full, since the collector is away or slow")

// Reporter counts what is lost and tells of failures.
type Reporter struct {
	count func(n int64)
	tell  func(error)

	mu    sync.Mutex
	next  time.Time // When the next report is due.
	spans int64     // Lost since the last report.

	stop   context.Context // Done when exports are given up.
	giveUp context.CancelFunc
}

// NewReporter returns a reporter that counts by one function each span that is lost, and tells by the other of failures,
// once a minute at most. Both may be called from any goroutine.
func NewReporter(count func(n int64), tell func(error)) *Reporter {
	r := &Reporter{count: count, tell: tell}
	r.stop, r.giveUp = context.WithCancel(context.Background())
	return r
}

// GiveUp ends the exports that go on, and all later ones at once.
func (r *Reporter) GiveUp() { r.giveUp() }

func (r *Reporter) failed(spans int64, err error) {
	if spans > 0 {
		r.count(spans)
	}
	r.mu.Lock()
	r.spans += spans
	now := time.Now()
	if now.Before(r.next) {
		r.mu.Unlock()
		return
	}
	lost := r.spans
	r.spans, r.next = 0, now.Add(reportEvery)
	r.mu.Unlock()
	r.tell(fmt.Errorf("redial: export failed, %d spans were lost (redial.events.dropped counts them; the next report follows in %v at the earliest): %w", lost, reportEvery, err))
}

// during returns a context that ends when exports are given up too.
func (r *Reporter) during(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	unhook := context.AfterFunc(r.stop, cancel)
	return ctx, func() {
		unhook()
		cancel()
	}
}

// Spans returns a processor that hands spans to the exporter in batches. So many may wait or be on their way; more are
// lost. An export may take as long as the timeout.
func Spans(next sdktrace.SpanExporter, limit int, timeout time.Duration, r *Reporter) sdktrace.SpanProcessor {
	p := &spans{limit: int64(limit), reporter: r}
	p.SpanProcessor = sdktrace.NewBatchSpanProcessor(&spanExporter{next, p},
		sdktrace.WithMaxQueueSize(limit), sdktrace.WithExportTimeout(timeout))
	return p
}

// spans bounds what the batch processor behind it holds: that one would drop the rest and count nothing.
type spans struct {
	sdktrace.SpanProcessor
	limit    int64
	pending  atomic.Int64
	reporter *Reporter
}

// OnEnd implements [sdktrace.SpanProcessor].
func (p *spans) OnEnd(s sdktrace.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return
	}
	if p.pending.Add(1) > p.limit {
		p.pending.Add(-1)
		p.reporter.failed(1, errFull)
		return
	}
	p.SpanProcessor.OnEnd(s)
}

type spanExporter struct {
	sdktrace.SpanExporter
	queue *spans
}

// ExportSpans implements [sdktrace.SpanExporter]. It has no error: the SDK would tell of each.
func (e *spanExporter) ExportSpans(ctx context.Context, batch []sdktrace.ReadOnlySpan) error {
	r := e.queue.reporter
	ctx, done := r.during(ctx)
	defer done()
	defer e.queue.pending.Add(-int64(len(batch)))
	if err := e.SpanExporter.ExportSpans(ctx, batch); err != nil {
		r.failed(int64(len(batch)), err)
	}
	return nil
}

// Metrics returns the exporter with its failures reported. Nothing is lost with them: the next export tells the same
// sums.
func Metrics(next sdkmetric.Exporter, r *Reporter) sdkmetric.Exporter {
	return &metricExporter{next, r}
}

type metricExporter struct {
	sdkmetric.Exporter
	reporter *Reporter
}

// Export implements [sdkmetric.Exporter]. It has no error: the SDK would tell of each.
func (e *metricExporter) Export(ctx context.Context, rm *metricdata.ResourceMetrics) error {
	ctx, done := e.reporter.during(ctx)
	defer done()
	if err := e.Exporter.Export(ctx, rm); err != nil {
		e.reporter.failed(0, err)
	}
	return nil
}
