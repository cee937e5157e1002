package journal

import (
	"log/slog"
	"strconv"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/trace"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/eventlog"
)

// encoder writes events as JSON without allocating: log/slog's own handler would, for records with so many attributes.
type encoder struct{ attrs []slog.Attr }

const hex = "0123456789abcdef"

// append appends an event as one JSON object: its number, time and what package eventlog tells of it, with the trace of
// the span that tells of it if that is sampled.
func (c *encoder) append(b []byte, seq uint64, sc trace.SpanContext, e event.Event) []byte {
	b = strconv.AppendUint(append(b, `{"seq":`...), seq, 10)
	b = append(b, `,"time":"`...)
	b = e.EventHeader().Time.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, '"')
	clear(c.attrs)
	c.attrs = eventlog.AppendAttrs(c.attrs[:0], e)
	for _, a := range c.attrs {
		b = append(appendString(append(b, ','), a.Key), ':')
		b = appendValue(b, a.Value)
	}
	if sc.IsSampled() {
		b = append(b, `,"`+eventlog.KeyTraceID+`":"`...)
		for _, x := range sc.TraceID() {
			b = append(b, hex[x>>4], hex[x&15])
		}
		b = append(b, '"')
	}
	return append(b, '}')
}

func appendValue(b []byte, v slog.Value) []byte {
	switch v.Kind() {
	case slog.KindInt64:
		return strconv.AppendInt(b, v.Int64(), 10)
	case slog.KindUint64:
		return strconv.AppendUint(b, v.Uint64(), 10)
	case slog.KindFloat64:
		return strconv.AppendFloat(b, v.Float64(), 'g', -1, 64)
	case slog.KindBool:
		return strconv.AppendBool(b, v.Bool())
	}
	return appendString(b, v.String())
}

// appendString appends a JSON string of limited length.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := len(b)
	for _, r := range s { // What is no UTF-8 becomes U+FFFD.
		if len(b)-start > maxText {
			b = append(b, "…"...)
			break
		}
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ':
			b = append(b, `\u00`...)
			b = append(b, hex[r>>4], hex[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}
