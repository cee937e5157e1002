package grpcinternals

import (
	"runtime"
	"strings"
)

// newStream is where gRPC waits for a stream, and asks the RPC's context for its Done channel only to do so.
const newStream = "google.golang.org/grpc/internal/transport.(*http2Client).NewStream"

// WaitsForStream reports whether the caller's caller, below package context, is gRPC that waits for a stream since the
// server's limit on concurrent streams is used up. It takes a microsecond.
func WaitsForStream() bool {
	var pcs [8]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		frame, more := frames.Next()
		if !strings.HasPrefix(frame.Function, "context.") {
			return frame.Function == newStream
		}
		if !more {
			return false
		}
	}
}
