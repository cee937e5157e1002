package failure

import (
	"strings"
	"time"

	"github.com/redial-dev/redial/instrument/event"
)

// Loss is what is known of a transport at the moment at which gRPC reports that it lost it.
type Loss struct {
	// DisconnectError is gRPC's own, the label grpc.disconnect_error of gRFC A94; empty where gRPC reported none.
	DisconnectError string
	// ByKeepalive: the goroutine that pings the server closed the transport.
	ByKeepalive bool
	// NeverPings: gRPC's keepalive is off.
	NeverPings bool
	// LastRead is what gRPC read from the connection last, where it closed the transport because of that.
	LastRead LastRead
	// TCP is what the kernel knew of the socket, or nil.
	TCP *event.TCP
}

// LastRead is what gRPC read from a connection last.
type LastRead uint8

const (
	// ReadUnknown: there is no evidence.
	ReadUnknown LastRead = iota
	// ReadEOF: the peer closed the connection, or its side of it.
	ReadEOF
	// ReadReset: the peer reset the connection. gRPC may have read no more than EOF, if a write had met the error first.
	ReadReset
	// ReadRejected: the peer sent what gRPC or TLS did not accept.
	ReadRejected
)

// Evidence is all that is known of a lost transport.
type Evidence struct {
	Loss
	// RPCError is the text of an error that killed one of the transport's RPCs, or empty.
	RPCError string
	// TCPInfoAvailable: the kernel answers questions about the socket. If it was not asked in time, gRPC's EOF may also be
	// a RST that a write had met first.
	TCPInfoAvailable bool
}

// quietForKeepalive is the shortest silence after which grpc-go's keepalive can close a connection: it raises a
// client's keepalive time to 10 s at least. A second is left for the kernel's clock and rounding.
const quietForKeepalive = 9 * time.Second

// Cause returns why a transport was lost: unknown where the evidence is not conclusive. What gRPC itself reports comes
// first, and what the socket looks like afterwards comes last: a later write or packet may have changed that.
func (e Evidence) Cause() event.Cause {
	for _, find := range []func(Evidence) event.Cause{goAwayCause, disconnectCause, rpcCause, readCause, socketCause} {
		if cause := find(e); cause != "" {
			return cause
		}
	}
	return event.CauseUnknown
}

const enhanceYourCalm = "ENHANCE_YOUR_CALM"

// MayBePings reports whether gRPC's disconnect error may stand for a server that was pinged too often.
func MayBePings(disconnectError string) bool { return disconnectError == GoAway+enhanceYourCalm }

// goAwayCause separates keepalive's punishment from other GOAWAYs. gRFC A8 makes it ENHANCE_YOUR_CALM with the debug
// data "too_many_pings"; the data is known only where an RPC was killed, so without it the code has to do, unless there
// were no pings.
func goAwayCause(e Evidence) event.Cause {
	code := e.GoAwayCode()
	if code == "" {
		return ""
	}
	debug := e.GoAwayDebugData()
	if debug == "too_many_pings" || debug == "" && code == enhanceYourCalm && !e.NeverPings {
		return event.CauseTooManyPings
	}
	return event.CauseGoAway
}

// disconnectCause reads gRPC's own reason. "connection timed out" is also what it calls a read deadline that a dialer's
// own conn set; a socket that the kernel gave up is closed.
func disconnectCause(e Evidence) event.Cause {
	switch e.DisconnectError {
	case "connection reset", "connection aborted":
		return event.CauseConnectionReset
	case "connection timed out", "socket error":
		if e.TCP != nil && e.TCP.State == "CLOSE" {
			return event.CauseTimedOut
		}
	}
	if e.ByKeepalive {
		return event.CauseKeepaliveTimeout
	}
	return ""
}

// rpcErrors are parts of the errors with which gRPC ends the RPCs of a lost transport.
var rpcErrors = []struct {
	text  string
	cause event.Cause
}{
	{"keepalive ping failed", event.CauseKeepaliveTimeout},
	{"connection reset by peer", event.CauseConnectionReset},
	{"broken pipe", event.CauseConnectionReset},
	{"connection timed out", event.CauseTimedOut},
	{"PROTOCOL_ERROR", event.CauseProtocolError},
	{"FRAME_SIZE_ERROR", event.CauseProtocolError},
	{"connection error: FLOW_CONTROL_ERROR", event.CauseProtocolError},
	{"COMPRESSION_ERROR", event.CauseProtocolError},
	{"http2: frame too large", event.CauseProtocolError},
	{"remote error: tls:", event.CauseProtocolError},
	{"local error: tls:", event.CauseProtocolError},
	{"tls: first record does not look like", event.CauseProtocolError},
	{"tls: received record with version", event.CauseProtocolError},
}

func rpcCause(e Evidence) event.Cause {
	for _, of := range rpcErrors {
		if strings.Contains(e.RPCError, of.text) {
			return of.cause
		}
	}
	return ""
}

// serverNotReading is in the errors of RPCs whose transport gRPC closed since it could not write to it.
const serverNotReading = "the server is not reading"

// readCause goes by what gRPC read last. The EOF of an RPC's error is as good, unless the kernel could have said
// whether a RST was behind it.
func readCause(e Evidence) event.Cause {
	eof := strings.Contains(e.RPCError, "EOF")
	switch {
	case e.LastRead == ReadEOF, eof && !e.TCPInfoAvailable:
		return event.CausePeerClosed
	case e.LastRead == ReadReset:
		return event.CauseConnectionReset
	case e.LastRead == ReadRejected && !eof && !strings.Contains(e.RPCError, serverNotReading):
		return event.CauseProtocolError
	}
	return ""
}

// socketCause reads the kernel's view where there is nothing better. A socket that is still ESTABLISHED after a long
// silence was closed from this side, by keepalive.
func socketCause(e Evidence) event.Cause {
	if e.TCP == nil || e.DisconnectError != UnknownDisconnectError {
		return ""
	}
	switch e.TCP.State {
	case "CLOSE_WAIT":
		return event.CausePeerClosed
	case "ESTABLISHED":
		if e.TCP.Idle >= quietForKeepalive {
			return event.CauseKeepaliveTimeout
		}
	}
	return ""
}

// GoAwayCode returns the HTTP/2 error code of a GOAWAY, or "". Where the transport was draining for another reason when
// the GOAWAY came, only the errors of the RPCs that died later quote it.
func (e Evidence) GoAwayCode() string {
	if code, ok := strings.CutPrefix(e.DisconnectError, GoAway); ok {
		return code
	}
	_, code, _ := strings.Cut(e.RPCError, "received prior goaway: code: ")
	code, _, _ = strings.Cut(code, ",")
	return strings.TrimSuffix(code, `"`)
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
