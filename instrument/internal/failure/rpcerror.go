package failure

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// transportErrors are how the errors begin with which grpc-go ends the RPCs of a transport that it closes (package
// internal/transport). Tests of each kind of loss fail if it changes them.
var transportErrors = []string{
	"error reading from server", "closing transport due to", "keepalive ping failed", "transport:", "transport is closing",
	"closing connection since", "received goaway",
}

// IsTransportError reports whether an RPC's error reads as gRPC's own for a lost transport. A server can answer with
// the same words, for instance one that passes on what its own client met: they are evidence only where there was no
// answer.
func IsTransportError(message string) bool {
	message = strings.TrimPrefix(message, `connection error: desc = "`)
	return slices.ContainsFunc(transportErrors, func(begin string) bool { return strings.HasPrefix(message, begin) })
}

// IsPickTimeout reports whether an RPC's error is gRPC's own for one that ended while it waited for a picker.
func IsPickTimeout(message string) bool {
	return strings.HasSuffix(message, "while waiting for connections to become ready") ||
		strings.HasPrefix(message, "latest balancer error: ")
}

// IsDeadline reports whether an RPC's error reads as gRPC's own for one whose deadline passed after it was sent.
func IsDeadline(err error) bool {
	s := status.Convert(err)
	return s.Code() == codes.DeadlineExceeded && s.Message() == context.DeadlineExceeded.Error()
}

// transparentRetries are the errors of RPCs that the server did not process, which gRPC sends again by itself.
var transparentRetries = []string{
	"the connection is draining",
	"the stream is rejected because server is draining the connection",
	"stream terminated by RST_STREAM with error code: REFUSED_STREAM",
}

// IsTransparentRetry reports whether an RPC's error reads as gRPC's own for an RPC that the server did not process, and
// that gRPC sends again by itself.
func IsTransparentRetry(message string) bool { return slices.Contains(transparentRetries, message) }

// channelCloses are the errors of RPCs that ClientConn.Close ends.
var channelCloses = []string{"grpc: the client connection is closing", "grpc: the connection is closing"}

// IsChannelClose reports whether an RPC's error is gRPC's own for an RPC that ClientConn.Close ended.
func IsChannelClose(message string) bool {
	message = strings.TrimPrefix(message, `connection error: desc = "`)
	return slices.Contains(channelCloses, strings.TrimSuffix(message, `"`))
}
