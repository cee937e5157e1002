package delivery

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

var (
	errFull       = errors.New("the queue is full, since the collector is away or slow")
	errUnanswered = errors.New("the collector has not answered")
)

// Spans returns a processor that hands spans to the exporter in batches. At most limit spans wait or are being
// exported; more are lost. An export may take as long as the timeout.
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

	ending sync.RWMutex // Held for writing by Shutdown, so that a span is either exported by it or counted as lost.
	ended  bool
}

// OnEnd implements [sdktrace.SpanProcessor].
func (p *spans) OnEnd(s sdktrace.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return
	}
	p.ending.RLock()
	defer p.ending.RUnlock()
	if p.ended {
		p.reporter.lost(ofQueue, 1, errGivenUp)
		return
	}
	if p.pending.Add(1) > p.limit {
		p.pending.Add(-1)
		p.reporter.lost(ofQueue, 1, errFull)
		return
	}
	p.SpanProcessor.OnEnd(s)
}

// Shutdown implements [sdktrace.SpanProcessor]. Spans that end later are lost.
func (p *spans) Shutdown(ctx context.Context) error {
	p.ending.Lock()
	p.ended = true
	p.ending.Unlock()
	return p.SpanProcessor.Shutdown(ctx)
}

type spanExporter struct {
	sdktrace.SpanExporter
	queue *spans
}

// ExportSpans implements [sdktrace.SpanExporter]. It returns no error, since the SDK would report each.
func (e *spanExporter) ExportSpans(ctx context.Context, batch []sdktrace.ReadOnlySpan) error {
	r := e.queue.reporter
	defer e.queue.pending.Add(-int64(len(batch)))
	for _, part := range split(batch) {
		r.export(ctx, ofSpans,
			func(ctx context.Context) error { return e.SpanExporter.ExportSpans(ctx, part) },
			func(err error) { r.lost(ofSpans, len(part), err) })
	}
	return nil
}

// maxBatch is the size of an export, in bytes: a gRPC server takes 4 MiB by default, and sizes are estimates.
const maxBatch = 2 << 20

// split cuts a batch into parts that a collector takes.
func split(batch []sdktrace.ReadOnlySpan) (parts [][]sdktrace.ReadOnlySpan) {
	begin, size := 0, 0
	for i, s := range batch {
		n := sizeOf(s)
		if size += n; size > maxBatch && i > begin {
			parts = append(parts, batch[begin:i])
			begin, size = i, n
		}
	}
	return append(parts, batch[begin:])
}

// sizeOf estimates what a span takes on the wire: its texts, and some bytes for each field.
func sizeOf(s sdktrace.ReadOnlySpan) int {
	const fixed, field = 128, 24
	size := fixed + len(s.Name()) + len(s.Status().Description) + attributesSize(s.Attributes())
	for _, e := range s.Events() {
		size += field + len(e.Name) + attributesSize(e.Attributes)
	}
	for _, l := range s.Links() {
		size += fixed + attributesSize(l.Attributes)
	}
	return size
}

func attributesSize(kvs []attribute.KeyValue) (size int) {
	const field = 24
	for _, kv := range kvs {
		size += field + len(kv.Key)
		switch kv.Value.Type() {
		case attribute.STRING:
			size += len(kv.Value.AsString())
		case attribute.STRINGSLICE:
			for _, text := range kv.Value.AsStringSlice() {
				size += field + len(text)
			}
		}
	}
	return size
}
