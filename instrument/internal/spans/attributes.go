package spans

import (
	"net"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/signal"
)

// headAttributes are those of all spans.
func headAttributes(h event.Head) []attribute.KeyValue {
	kvs := []attribute.KeyValue{semconv.RPCSystemNameGRPC, signal.Target.String(h.Target)}
	if h.Channel != 0 {
		kvs = append(kvs, signal.ChannelID.Int64(h.Channel))
	}
	if h.Subchannel != 0 {
		kvs = append(kvs, signal.SubchannelID.Int64(h.Subchannel))
	}
	return kvs
}

// serverAttributes tell what the resolver said.
func serverAttributes(address string) []attribute.KeyValue {
	host, port := splitAddress(address)
	kvs := []attribute.KeyValue{semconv.ServerAddress(host)}
	if port > 0 {
		kvs = append(kvs, semconv.ServerPort(port))
	}
	return kvs
}

// connAttributes tell of the real socket.
func connAttributes(c event.Conn) (kvs []attribute.KeyValue) {
	if c.Network == "" {
		return nil
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

// fail sets the status and error.type of a span that tells of an error.
func fail(span trace.Span, err error, class string) {
	if err == nil {
		return
	}
	span.SetStatus(codes.Error, err.Error())
	span.SetAttributes(errorType(class))
}

func tlsAttributes(t *event.TLS) []attribute.KeyValue {
	if t == nil {
		return nil
	}
	kvs := []attribute.KeyValue{
		semconv.TLSProtocolVersion(t.Version), semconv.TLSCipher(t.Cipher), semconv.TLSResumed(t.Resumed),
	}
	if t.ServerSubject != "" {
		kvs = append(kvs, semconv.TLSServerSubject(t.ServerSubject))
	}
	if !t.ServerNotAfter.IsZero() {
		kvs = append(kvs, semconv.TLSServerNotAfter(t.ServerNotAfter.UTC().Format("2006-01-02T15:04:05.000Z")))
	}
	return kvs
}

func tcpAttributes(t *event.TCP) []attribute.KeyValue {
	if t == nil {
		return nil
	}
	return []attribute.KeyValue{
		signal.TCPState.String(t.State), signal.TCPRTT.Float64(t.RTT.Seconds()),
		signal.TCPRetransmits.Int64(t.Retransmits), signal.TCPUnacked.Int64(t.Unacked),
		signal.TCPIdle.Float64(t.Idle.Seconds()), signal.TCPSendIdle.Float64(t.SendIdle.Seconds()),
	}
}

func goAwayAttributes(e event.TransportEnded) (kvs []attribute.KeyValue) {
	if e.HTTP2ErrorCode != "" {
		kvs = append(kvs, signal.HTTP2ErrorCode.String(e.HTTP2ErrorCode))
	}
	if e.GoAwayDebugData != "" {
		kvs = append(kvs, signal.GoAwayDebugData.String(e.GoAwayDebugData))
	}
	return kvs
}

// disconnectAttribute is grpc's own word, where it said one.
func disconnectAttribute(word string) (kvs []attribute.KeyValue) {
	if word != "" {
		kvs = append(kvs, signal.DisconnectError.String(word))
	}
	return kvs
}

func errorType(t string) attribute.KeyValue { return semconv.ErrorTypeKey.String(t) }
