package spans

import (
	"sync"

	"go.opentelemetry.io/otel/trace"

	"github.com/redial-dev/redial/instrument/event"
)

// maxRemembered bounds the ended spans that others may still link to: an RPC's wait ends after the
// episode that it waited for.
const maxRemembered = 4096

// spanTable keeps the spans that are open and the contexts of those that were. It is safe for concurrent use, since
// RPCs link to episodes on their own goroutines.
type spanTable struct {
	mu     sync.Mutex
	open   map[event.ID]trace.Span
	ended  map[event.ID]trace.SpanContext
	oldest []event.ID
}

func newSpanTable() *spanTable {
	return &spanTable{open: map[event.ID]trace.Span{}, ended: map[event.ID]trace.SpanContext{}}
}

func (t *spanTable) start(id event.ID, span trace.Span) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open[id] = span
}

// span returns an open span, or nil.
func (t *spanTable) span(id event.ID) trace.Span {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open[id]
}

// end forgets an open span but for its context, and returns it, or nil.
func (t *spanTable) end(id event.ID) trace.Span {
	t.mu.Lock()
	defer t.mu.Unlock()
	span, ok := t.open[id]
	if !ok {
		return nil
	}
	delete(t.open, id)
	if len(t.oldest) == maxRemembered {
		delete(t.ended, t.oldest[0])
		t.oldest = t.oldest[1:]
	}
	t.ended[id] = span.SpanContext()
	t.oldest = append(t.oldest, id)
	return span
}

// context returns the context of a span that is open or was, or an invalid one.
func (t *spanTable) context(id event.ID) trace.SpanContext {
	t.mu.Lock()
	defer t.mu.Unlock()
	if span := t.open[id]; span != nil {
		return span.SpanContext()
	}
	return t.ended[id]
}

// links returns a link to the span with the id, if it is known.
func (t *spanTable) links(id event.ID) []trace.Link {
	sc := t.context(id)
	if !sc.IsValid() {
		return nil
	}
	return []trace.Link{{SpanContext: sc}}
}
