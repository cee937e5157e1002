package spans

import (
	"net"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/signal"
)

// attributes are made for one span at a time, in one piece.
type attributes []attribute.KeyValue

// most is room for those that a span has at once.
const most = 12

// of begins with those of all spans.
func of(h event.Header) attributes {
	kvs := append(make(attributes, 0, most), semconv.RPCSystemNameGRPC, signal.Target.String(h.Target))
	if h.Channel != 0 {
		kvs = append(kvs, signal.ChannelID.Int64(h.Channel))
	}
	if h.Subchannel != 0 {
		kvs = append(kvs, signal.SubchannelID.Int64(h.Subchannel))
	}
	return kvs
}

func (kvs attributes) add(more ...attribute.KeyValue) attributes { return append(kvs, more...) }

// server adds what the resolver said.
func (kvs attributes) server(address string) attributes {
	host, port := splitAddress(address)
	kvs = append(kvs, semconv.ServerAddress(host))
	if port > 0 {
		kvs = append(kvs, semconv.ServerPort(port))
	}
	return kvs
}

// conn adds the ends of the real socket.
func (kvs attributes) conn(c event.Conn) attributes {
	if c.Network == "" {
		return kvs
	}
	kvs = append(kvs, semconv.NetworkTransportKey.String(c.Network))
	if host, port := splitAddress(c.Remote); host != "" {
		kvs = append(kvs, semconv.NetworkPeerAddress(host))
		if port > 0 {
			kvs = append(kvs, semconv.NetworkPeerPort(port))
		}
	}
	if host, port := splitAddress(c.Local); host != "" {
		kvs = append(kvs, semconv.NetworkLocalAddress(host))
		if port > 0 {
			kvs = append(kvs, semconv.NetworkLocalPort(port))
		}
	}
	return kvs
}

// splitAddress parts a port off, where there is one. Abstract unix sockets begin with NUL, which is written as "@".
func splitAddress(address string) (string, int) {
	if name, ok := strings.CutPrefix(address, "\x00"); ok {
		return "@" + name, 0
	}
	host, digits, err := net.SplitHostPort(address)
	if err != nil {
		return address, 0
	}
	port, err := strconv.Atoi(digits)
	if err != nil {
		return address, 0
	}
	return host, port
}

// failure adds the class of an error, where there is one.
func (kvs attributes) failure(err error, class string) attributes {
	if err == nil {
		return kvs
	}
	return append(kvs, errorType(class))
}

// end ends a span at its time, with an error's text as its status if there is one.
func end(span trace.Span, at time.Time, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End(trace.WithTimestamp(at))
}

func (kvs attributes) tls(t *event.TLS) attributes {
	if t == nil {
		return kvs
	}
	kvs = append(kvs, semconv.TLSProtocolVersion(t.Version), semconv.TLSCipher(t.Cipher), semconv.TLSResumed(t.Resumed))
	if t.ServerSubject != "" {
		kvs = append(kvs, semconv.TLSServerSubject(t.ServerSubject))
	}
	if !t.ServerNotAfter.IsZero() {
		kvs = append(kvs, semconv.TLSServerNotAfter(t.ServerNotAfter.UTC().Format("2006-01-02T15:04:05.000Z")))
	}
	return kvs
}

func (kvs attributes) tcp(t *event.TCP) attributes {
	if t == nil {
		return kvs
	}
	return append(kvs, signal.TCPState.String(t.State), signal.TCPRTT.Float64(t.RTT.Seconds()),
		signal.TCPRetransmits.Int64(t.Retransmits), signal.TCPUnacked.Int64(t.Unacked),
		signal.TCPIdle.Float64(t.Idle.Seconds()), signal.TCPSendIdle.Float64(t.SendIdle.Seconds()))
}

func (kvs attributes) goAway(e event.TransportEnded) attributes {
	if e.HTTP2ErrorCode != "" {
		kvs = append(kvs, signal.HTTP2ErrorCode.String(e.HTTP2ErrorCode))
	}
	if e.GoAwayDebugData != "" {
		kvs = append(kvs, signal.GoAwayDebugData.String(e.GoAwayDebugData))
	}
	return kvs
}

// disconnect adds grpc's own word, where it said one.
func (kvs attributes) disconnect(word string) attributes {
	if word != "" {
		kvs = append(kvs, signal.DisconnectError.String(word))
	}
	return kvs
}

func errorType(t string) attribute.KeyValue { return semconv.ErrorTypeKey.String(t) }
