package failure

import (
	"slices"
	"strings"
)

const (
	// GoAway begins gRPC's disconnect error of a GOAWAY; the frame's HTTP/2 error code follows.
	GoAway = "GOAWAY "
	// UnknownDisconnectError is gRPC's disconnect error where it has none: the peer closed, or keepalive failed, or what
	// the peer sent was not accepted.
	UnknownDisconnectError = "unknown"
	// SubchannelShutdown is gRPC's disconnect error of a transport that its own channel closed.
	SubchannelShutdown = "subchannel shutdown"
)

// disconnectErrors are gRPC's disconnect errors beside that of a GOAWAY, of gRFC A94.
var disconnectErrors = []string{
	UnknownDisconnectError, SubchannelShutdown, "connection reset", "connection aborted", "connection timed out",
	"socket error",
}

// IsDisconnectError reports whether a text is a disconnect error of gRFC A94.
func IsDisconnectError(text string) bool {
	return strings.HasPrefix(text, GoAway) || slices.Contains(disconnectErrors, text)
}

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

// KnownDisconnectError returns gRPC's disconnect error with its HTTP/2 error code, if there is one, as [KnownCode] has
// it.
func KnownDisconnectError(disconnectError string) string {
	if code, ok := strings.CutPrefix(disconnectError, GoAway); ok {
		return GoAway + KnownCode(code)
	}
	return disconnectError
}
