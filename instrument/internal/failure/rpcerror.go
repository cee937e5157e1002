package failure

import (
	"slices"
	"strings"
)

// transportErrors are how the errors begin with which grpc-go ends the RPCs of a transport that it closes (package
// internal/transport). Tests of each kind of loss fail if it changes them.
var transportErrors = []string{
	"error reading from server", "closing transport due to", "keepalive ping failed", "transport:", "transport is closing",
	"closing connection since", "received goaway",
}

// IsTransparentRetry reports whether an RPC's error means that the server sent GOAWAY before it saw the RPC. gRPC
// sends such an RPC again by itself.
func IsTransparentRetry(message string) bool { return message == "the connection is draining" }

// IsTransportError reports whether an RPC's error is gRPC's own for a lost transport, and not what a server answered.
func IsTransportError(message string) bool {
	message = strings.TrimPrefix(message, `connection error: desc = "`)
	return slices.ContainsFunc(transportErrors, func(begin string) bool { return strings.HasPrefix(message, begin) })
}

// IsPickTimeout reports whether an RPC's error is gRPC's own for one that ended while it waited for a picker.
func IsPickTimeout(message string) bool {
	return strings.HasSuffix(message, "while waiting for connections to become ready") ||
		strings.HasPrefix(message, "latest balancer error: ")
}
