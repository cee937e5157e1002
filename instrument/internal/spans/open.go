package spans

import (
	"sync"

	"go.opentelemetry.io/otel/trace"

	"github.com/redial-dev/redial/instrument/event"
)

// maxRemembered bounds the ended spans that others may still link to: an RPC is told of after the episode that it
// waited for.
const maxRemembered = 4096

// register keeps the spans that are open and the contexts of those that were. It is safe for concurrent use, since
// RPCs link to episodes on their own goroutines.
type register struct {
	mu     sync.Mutex
	open   map[event.ID]trace.Span
	ended  map[event.ID]trace.SpanContext
	oldest []event.ID
}

func newRegister() *register {
	return &register{open: map[event.ID]trace.Span{}, ended: map[event.ID]trace.SpanContext{}}
}

func (r *register) start(id event.ID, span trace.Span) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open[id] = span
}

// span returns an open span, or nil.
func (r *register) span(id event.ID) trace.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open[id]
}

// end forgets an open span but for its context, and returns it, or nil.
func (r *register) end(id event.ID) trace.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	span, ok := r.open[id]
	if !ok {
		return nil
	}
	delete(r.open, id)
	if len(r.oldest) == maxRemembered {
		delete(r.ended, r.oldest[0])
		r.oldest = r.oldest[1:]
	}
	r.ended[id] = span.SpanContext()
	r.oldest = append(r.oldest, id)
	return span
}

// context returns the context of a span that is open or was, or an invalid one.
func (r *register) context(id event.ID) trace.SpanContext {
	r.mu.Lock()
	defer r.mu.Unlock()
	if span := r.open[id]; span != nil {
		return span.SpanContext()
	}
	return r.ended[id]
}

// links returns a link to the span with the id, if it is known.
func (r *register) links(id event.ID) []trace.Link {
	sc := r.context(id)
	if !sc.IsValid() {
		return nil
	}
	return []trace.Link{{SpanContext: sc}}
}
