package grpcinternals

import (
	"runtime"
	"strings"
)

// StreamNames are where gRPC waits for a stream, and asks the RPC's context for its Done channel only to do so; where
// it asks for it besides; and the package of both.
//
// Tried on grpc-go 1.84 and 1.85.
var StreamNames = struct{ Waiting, Making, Package string }{
	Waiting: "google.golang.org/grpc/internal/transport.(*http2Client).NewStream",
	Making:  "google.golang.org/grpc/internal/transport.(*http2Client).newStream",
	Package: "google.golang.org/grpc/internal/transport.",
}

// WaitsForStream reports whether who asks the calling method of a context, through others that wrap it, is gRPC that
// waits for a stream since the server's limit on concurrent streams is used up. It is known unless gRPC's transport
// asks at a place that redial does not know. It takes a microsecond.
func WaitsForStream() (waits, known bool) {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	asked, _ := frames.Next()
	for {
		frame, more := frames.Next()
		if frame.Function != asked.Function && !strings.HasPrefix(frame.Function, "context.") {
			waits = frame.Function == StreamNames.Waiting
			known = waits || frame.Function == StreamNames.Making || !strings.HasPrefix(frame.Function, StreamNames.Package)
			return waits, known
		}
		if !more {
			return false, true
		}
	}
}
