package failure

import (
	"slices"
	"strings"
	"time"

	"github.com/redial-dev/redial/instrument/event"
)

// Evidence is what is known of a lost transport.
type Evidence struct {
	// Disconnect is gRPC's own word, the label grpc.disconnect_error of gRFC A94; empty where gRPC said nothing.
	Disconnect string
	// RPC is the text of an error that killed one of the transport's RPCs, or empty.
	RPC string
	// TCP is what the kernel knew at the loss, or nil.
	TCP *event.TCP
	// Askable: the kernel can be asked about the socket. If it was not asked in time, gRPC's EOF may also be a RST that a
	// write had met first.
	Askable bool
}

const (
	// GoAway begins the word of a GOAWAY; its HTTP/2 error code follows.
	GoAway = "GOAWAY "
	// SubchannelShutdown is the word for a transport that its own channel took down.
	SubchannelShutdown = "subchannel shutdown"
)

// HTTP2ErrorCodes lists the error codes of RFC 9113, section 7, by which golang.org/x/net/http2 names them.
var HTTP2ErrorCodes = []string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
	"FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
	"INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

// KnownCode returns an HTTP/2 error code if it is a known one, and else "_OTHER": a server can make up four billion,
// and each would be a time series.
func KnownCode(code string) string {
	if slices.Contains(HTTP2ErrorCodes, code) {
		return code
	}
	return Other
}

// KnownDisconnect returns gRPC's word for a loss with its HTTP/2 error code, if there is one, as [KnownCode] has it.
func KnownDisconnect(word string) string {
	if code, ok := strings.CutPrefix(word, GoAway); ok {
		return GoAway + KnownCode(code)
	}
	return word
}

// quietForKeepalive is the shortest silence after which grpc-go's keepalive can close a connection: it raises a
// client's keepalive time to 10 s at least. A second is left for the kernel's clock and rounding.
const quietForKeepalive = 9 * time.Second

// ofTransport is how the errors begin with which grpc-go ends the RPCs of a transport that it closes (package
// internal/transport). Tests of each kind of loss fail if it changes them.
var ofTransport = []string{
	"error reading from server", "closing transport due to", "keepalive ping failed", "transport:", "transport is closing",
	"closing connection since", "received goaway",
}

// Unseen reports whether an RPC's error is gRPC's own word that the server said GOAWAY before it saw the RPC, which gRPC
// sends again by itself.
func Unseen(message string) bool { return message == "the connection is draining" }

// OfTransport reports whether an RPC's error is gRPC's own word that the transport is lost, and not what a server
// answered, which is nobody's business but the RPC's.
func OfTransport(message string) bool {
	message = strings.TrimPrefix(message, `connection error: desc = "`)
	return slices.ContainsFunc(ofTransport, func(begin string) bool { return strings.HasPrefix(message, begin) })
}

// Cause returns why a transport was lost. It answers unknown where the evidence does not tell.
func (e Evidence) Cause() event.Cause {
	if e.GoAwayCode() != "" {
		return e.goAwayCause()
	}
	switch e.Disconnect {
	case "connection reset", "connection aborted":
		return event.CauseConnectionReset
	case "connection timed out":
		return event.CauseTimedOut
	}
	switch {
	case strings.Contains(e.RPC, "keepalive ping failed"):
		return event.CauseKeepaliveTimeout
	case strings.Contains(e.RPC, "connection reset by peer"), strings.Contains(e.RPC, "broken pipe"):
		return event.CauseConnectionReset
	case strings.Contains(e.RPC, "connection timed out"):
		return event.CauseTimedOut
	case strings.Contains(e.RPC, "PROTOCOL_ERROR"), strings.Contains(e.RPC, "FRAME_SIZE_ERROR"),
		strings.Contains(e.RPC, "connection error: FLOW_CONTROL_ERROR"), strings.Contains(e.RPC, "COMPRESSION_ERROR"):
		return event.CauseProtocolError
	}
	if cause := e.socketCause(); cause != event.CauseUnknown {
		return cause
	}
	if !e.Askable && strings.Contains(e.RPC, "EOF") {
		return event.CausePeerClosed
	}
	return event.CauseUnknown
}

// goAwayCause tells keepalive's punishment from other GOAWAYs. gRFC A8 makes it ENHANCE_YOUR_CALM with the debug
// data "too_many_pings"; the data is known only where an RPC was killed, so without it the code has to do.
func (e Evidence) goAwayCause() event.Cause {
	debug := e.GoAwayDebugData()
	if debug == "too_many_pings" || debug == "" && e.GoAwayCode() == "ENHANCE_YOUR_CALM" {
		return event.CauseTooManyPings
	}
	return event.CauseGoAway
}

// socketCause reads the kernel's view. After the peer's FIN a socket is in CLOSE_WAIT; after a RST it is in CLOSE, even
// where gRPC read no more than EOF because a write had met the error first. One that is still ESTABLISHED was given up
// from this side, by keepalive after a silence, or because the peer broke the protocol.
func (e Evidence) socketCause() event.Cause {
	if e.TCP == nil {
		return event.CauseUnknown
	}
	switch e.TCP.State {
	case "CLOSE_WAIT":
		return event.CausePeerClosed
	case "CLOSE":
		return event.CauseConnectionReset
	case "ESTABLISHED":
		if e.TCP.Idle >= quietForKeepalive {
			return event.CauseKeepaliveTimeout
		}
	}
	return event.CauseUnknown
}

// GoAwayCode returns the HTTP/2 error code of a GOAWAY, or "".
func (e Evidence) GoAwayCode() string {
	if code, ok := strings.CutPrefix(e.Disconnect, GoAway); ok {
		return code
	}
	return ""
}

// GoAwayDebugData returns the debug data of a GOAWAY as grpc-go quotes it in the errors of the RPCs that it killed,
// or "".
func (e Evidence) GoAwayDebugData() string {
	_, data, ok := strings.Cut(e.RPC, "debug data: ")
	if !ok {
		return ""
	}
	if quoted, ok := strings.CutPrefix(data, `"`); ok {
		data, _, _ = strings.Cut(quoted, `"`)
		return data
	}
	data, _, _ = strings.Cut(data, ",")
	return data
}
