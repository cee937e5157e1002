package failure

import (
	"strings"
	"time"

	"github.com/redial-dev/redial/instrument/event"
)

// Evidence is what is known of a lost transport.
type Evidence struct {
	// DisconnectError is gRPC's own, the label grpc.disconnect_error of gRFC A94; empty where gRPC reported none.
	DisconnectError string
	// RPCError is the text of an error that killed one of the transport's RPCs, or empty.
	RPCError string
	// TCP is what the kernel knew of the socket at the loss, or nil.
	TCP *event.TCP
	// TCPInfoAvailable: the kernel answers questions about the socket. If it was not asked in time, gRPC's EOF may also be
	// a RST that a write had met first.
	TCPInfoAvailable bool
}

// quietForKeepalive is the shortest silence after which grpc-go's keepalive can close a connection: it raises a
// client's keepalive time to 10 s at least. A second is left for the kernel's clock and rounding.
const quietForKeepalive = 9 * time.Second

// Cause returns why a transport was lost: unknown where the evidence is not conclusive.
func (e Evidence) Cause() event.Cause {
	if e.GoAwayCode() != "" {
		return e.goAwayCause()
	}
	switch e.DisconnectError {
	case "connection reset", "connection aborted":
		return event.CauseConnectionReset
	case "connection timed out":
		return event.CauseTimedOut
	}
	switch {
	case strings.Contains(e.RPCError, "keepalive ping failed"):
		return event.CauseKeepaliveTimeout
	case strings.Contains(e.RPCError, "connection reset by peer"), strings.Contains(e.RPCError, "broken pipe"):
		return event.CauseConnectionReset
	case strings.Contains(e.RPCError, "connection timed out"):
		return event.CauseTimedOut
	case strings.Contains(e.RPCError, "PROTOCOL_ERROR"), strings.Contains(e.RPCError, "FRAME_SIZE_ERROR"),
		strings.Contains(e.RPCError, "connection error: FLOW_CONTROL_ERROR"),
		strings.Contains(e.RPCError, "COMPRESSION_ERROR"):
		return event.CauseProtocolError
	}
	if cause := e.socketCause(); cause != event.CauseUnknown {
		return cause
	}
	if !e.TCPInfoAvailable && strings.Contains(e.RPCError, "EOF") {
		return event.CausePeerClosed
	}
	return event.CauseUnknown
}

// goAwayCause separates keepalive's punishment from other GOAWAYs. gRFC A8 makes it ENHANCE_YOUR_CALM with the debug
// data "too_many_pings"; the data is known only where an RPC was killed, so without it the code has to do.
func (e Evidence) goAwayCause() event.Cause {
	debug := e.GoAwayDebugData()
	if debug == "too_many_pings" || debug == "" && e.GoAwayCode() == "ENHANCE_YOUR_CALM" {
		return event.CauseTooManyPings
	}
	return event.CauseGoAway
}

// socketCause reads the kernel's view. After the peer's FIN a socket is in CLOSE_WAIT; after a RST it is in CLOSE, even
// where gRPC read no more than EOF because a write had met the error first. One that is still ESTABLISHED was closed
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
	if code, ok := strings.CutPrefix(e.DisconnectError, GoAway); ok {
		return code
	}
	return ""
}

// GoAwayDebugData returns the debug data of a GOAWAY as grpc-go quotes it in the errors of the RPCs that it killed,
// or "".
func (e Evidence) GoAwayDebugData() string {
	_, data, ok := strings.Cut(e.RPCError, "debug data: ")
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
