package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// recorder keeps redial's spans, to draw some of them.
type recorder struct {
	spans    *tracetest.SpanRecorder
	provider *sdktrace.TracerProvider
}

func newRecorder() *recorder {
	spans := tracetest.NewSpanRecorder()
	return &recorder{spans, sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))}
}

// print draws the longest episode, with the connection whose loss began it, the one that it led to, and the RPC that
// waited longest for that.
func (r *recorder) print(screen *screen) {
	spans := r.spans.Ended()
	episode := longest(spans, func(s sdktrace.ReadOnlySpan) bool {
		return s.Name() == "grpc.connect" && attributeOf(s, "redial.outcome") == "ready"
	})
	if episode == nil {
		return
	}
	screen.text(bold, "\nThe longest episode, as its spans record it")
	for _, link := range episode.Links() {
		if lost := longest(spans, is(link.SpanContext)); lost != nil {
			screen.text(plain, "the connection that was lost:")
			draw(screen, spans, lost, "", "")
		}
	}
	screen.text(plain, "the way to the next one (a trace of its own, linked to the loss):")
	draw(screen, spans, episode, "", "")
	next := longest(spans, func(s sdktrace.ReadOnlySpan) bool { return s.Name() == "grpc.transport" && linked(s, episode) })
	if next != nil {
		screen.text(plain, "the next one (linked to the episode):")
		draw(screen, spans, next, "", "")
	}
	waited := longest(spans, func(s sdktrace.ReadOnlySpan) bool { return s.Name() == "grpc.pick.wait" && linked(s, episode) })
	if waited != nil {
		screen.text(plain, "the RPC that waited longest (linked to the episode):")
		draw(screen, spans, waited, "", "")
	}
}

// longest returns the longest of the spans that are chosen, or nil.
func longest(spans []sdktrace.ReadOnlySpan, chosen func(sdktrace.ReadOnlySpan) bool) sdktrace.ReadOnlySpan {
	var found sdktrace.ReadOnlySpan
	for _, s := range spans {
		if chosen(s) && (found == nil || took(s) > took(found)) {
			found = s
		}
	}
	return found
}

func is(sc trace.SpanContext) func(sdktrace.ReadOnlySpan) bool {
	return func(s sdktrace.ReadOnlySpan) bool { return s.SpanContext().SpanID() == sc.SpanID() }
}

func linked(s, to sdktrace.ReadOnlySpan) bool {
	return slices.ContainsFunc(s.Links(), func(l sdktrace.Link) bool { return is(l.SpanContext)(to) })
}

// draw writes a span and all below it as a tree, with when each began and how long it took. Names are shortened by
// what is above.
func draw(screen *screen, spans []sdktrace.ReadOnlySpan, s sdktrace.ReadOnlySpan, above, branch string) {
	c, text := plain, strings.TrimPrefix(s.Name(), above)
	for _, key := range shown {
		if value := attributeOf(s, key); value != "" {
			text += " " + value
		}
	}
	if attributeOf(s, "error.type") != "" {
		c = red
	}
	screen.write(c, fmt.Sprintf("%s%7s %s", screen.clock(s.StartTime()), short(took(s)), branch), text)
	below := slices.DeleteFunc(slices.Clone(spans), func(child sdktrace.ReadOnlySpan) bool {
		return child.Parent().SpanID() != s.SpanContext().SpanID()
	})
	slices.SortStableFunc(below, func(a, b sdktrace.ReadOnlySpan) int { return a.StartTime().Compare(b.StartTime()) })
	trunk := strings.NewReplacer("├─", "│ ", "└─", "  ").Replace(branch)
	for i, child := range below {
		fork := "├─"
		if i == len(below)-1 {
			fork = "└─"
		}
		draw(screen, spans, child, cmp.Or(above, s.Name()+"."), trunk+fork)
	}
}

// shown are the attributes that are drawn.
var shown = []attribute.Key{"redial.trigger", "error.type", "redial.teardown.cause"}

func attributeOf(s sdktrace.ReadOnlySpan, key attribute.Key) string {
	for _, kv := range s.Attributes() {
		if kv.Key == key {
			return kv.Value.String()
		}
	}
	return ""
}

func took(s sdktrace.ReadOnlySpan) time.Duration { return s.EndTime().Sub(s.StartTime()) }
