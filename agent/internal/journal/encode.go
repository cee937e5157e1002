package journal

import (
	"strconv"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/internal/attributes"
)

// encoder writes events as JSON without allocating: log/slog's own handler would, for records with this many
// attributes.
type encoder struct{ attributes attributes.List }

const hex = "0123456789abcdef"

// append appends an event as one JSON object: its number, its time, the attributes of its record, and the trace of its
// span if that is sampled.
func (c *encoder) append(b []byte, seq uint64, sc trace.SpanContext, e event.Event) []byte {
	b = strconv.AppendUint(append(b, `{"seq":`...), seq, 10)
	b = append(b, `,"time":"`...)
	b = e.EventHeader().Time.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, '"')
	clear(c.attributes)
	c.attributes = c.attributes[:0].Record(e)
	for _, kv := range c.attributes {
		b = append(appendString(append(b, ','), string(kv.Key)), ':')
		b = appendValue(b, kv.Value)
	}
	if sc.IsSampled() {
		b = append(b, `,"`+string(attributes.TraceID)+`":"`...)
		for _, x := range sc.TraceID() {
			b = append(b, hex[x>>4], hex[x&15])
		}
		b = append(b, '"')
	}
	return append(b, '}')
}

func appendValue(b []byte, v attribute.Value) []byte {
	switch v.Type() {
	case attribute.INT64:
		return strconv.AppendInt(b, v.AsInt64(), 10)
	case attribute.FLOAT64:
		return strconv.AppendFloat(b, v.AsFloat64(), 'g', -1, 64)
	case attribute.BOOL:
		return strconv.AppendBool(b, v.AsBool())
	}
	return appendString(b, v.AsString())
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
