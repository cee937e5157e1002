package grpcinternals

import (
	"context"
	"errors"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ErrorTexts are the texts of the errors with which gRPC ends RPCs by itself. Those of RPCs that die with their
// transport, and of RPCs that the server refused by a frame of HTTP/2 or an answer of HTTP, are begins of texts. What
// they say of the cause, package failure reads.
//
// Tried on grpc-go 1.84 and 1.85.
var ErrorTexts = struct{ TransportLost, Refused, TransparentRetry, ChannelClosed []string }{
	TransportLost: []string{
		"error reading from server", "closing transport due to", "keepalive ping failed", "transport:",
		"transport is closing", "closing connection since", "received goaway",
	},
	Refused: []string{"stream terminated by RST_STREAM", "unexpected HTTP status code received from server"},
	TransparentRetry: []string{
		"transport is closing", // It had a stream, whose headers were not written.
		"the connection is draining",
		"the stream is rejected because server is draining the connection",
		"stream terminated by RST_STREAM with error code: REFUSED_STREAM",
	},
	ChannelClosed: []string{"grpc: the client connection is closing", "grpc: the connection is closing"},
}

// IsTransportError reports whether an RPC's error reads as gRPC's own for a lost transport. A server can answer with
// the same words, for instance one that passes on what its own client met: they are evidence only where there was no
// answer.
func IsTransportError(message string) bool {
	return beginsWithAny(strings.TrimPrefix(message, `connection error: desc = "`), ErrorTexts.TransportLost)
}

// IsTransparentRetry reports whether an RPC's error reads as gRPC's own for an RPC that the server did not process, and
// that gRPC sends again by itself.
func IsTransparentRetry(message string) bool {
	return slices.Contains(ErrorTexts.TransparentRetry, message)
}

// IsRefusal reports whether an RPC's error reads as gRPC's own for an RPC that a server or proxy ended without gRPC's
// own trailers.
func IsRefusal(message string) bool { return beginsWithAny(message, ErrorTexts.Refused) }

// IsChannelClose reports whether an RPC's error is gRPC's own for an RPC that ClientConn.Close ended.
func IsChannelClose(message string) bool {
	message = strings.TrimPrefix(message, `connection error: desc = "`)
	return slices.Contains(ErrorTexts.ChannelClosed, strings.TrimSuffix(message, `"`))
}

// IsDeadline reports whether an RPC's error reads as gRPC's own for one whose deadline passed after it was sent, and
// its deadline has passed: a server in Go answers with the same words.
func IsDeadline(ctx context.Context, err error) bool {
	s := status.Convert(err)
	return s.Code() == codes.DeadlineExceeded && s.Message() == context.DeadlineExceeded.Error() &&
		errors.Is(ctx.Err(), context.DeadlineExceeded)
}

// IsPickTimeout reports whether an RPC's error is gRPC's own for one that ended while it waited for a picker.
func IsPickTimeout(message string) bool {
	return strings.HasSuffix(message, "while waiting for connections to become ready") ||
		strings.HasPrefix(message, "latest balancer error: ")
}

func beginsWithAny(message string, begins []string) bool {
	return slices.ContainsFunc(begins, func(begin string) bool { return strings.HasPrefix(message, begin) })
}
