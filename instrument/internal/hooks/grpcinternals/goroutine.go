package grpcinternals

import (
	"bytes"
	"runtime"
	"strconv"
	"sync"
)

// TraceNames are what redial looks for in stack traces: where gRPC connects; what starts the goroutines of a transport,
// and which of them there are; and where else gRPC may find that a transport is lost, for reasons of the client's own.
//
// gRPC reports a loss without naming the transport, but it does so in the transport's reader or keepalive, which were
// started by the goroutine that connected: the one that reported the connection's begin, and of no other transport that
// is still open. Go shows the numbers of goroutines in stack traces alone; no number is used twice.
//
// Tried on grpc-go 1.84 and 1.85, with Go 1.26.
var TraceNames = struct {
	Connecting, StartedBy, Reader, Keepalive string
	Elsewhere                                []string
}{
	Connecting: "google.golang.org/grpc.(*addrConn).createTransport(",
	StartedBy:  "\ncreated by google.golang.org/grpc/internal/transport.NewHTTP2Client in goroutine ",
	Reader:     "google.golang.org/grpc/internal/transport.(*http2Client).reader(",
	Keepalive:  "google.golang.org/grpc/internal/transport.(*http2Client).keepalive(",
	Elsewhere: []string{
		"google.golang.org/grpc.(*addrConn).startHealthCheck",                     // A health check failed.
		"google.golang.org/grpc.(*addrConn).updateAddrs",                          // The addresses are others now.
		"google.golang.org/grpc/internal/transport.(*http2Client).GracefulClose(", // No ids of streams are left.
	},
}

// Place is where in gRPC a goroutine runs.
type Place uint8

const (
	// Nowhere known.
	Nowhere Place = iota
	// Connecting: it makes a connection, and may find it lost at once.
	Connecting
	// Reader reads from the server, and closes the transport when that fails.
	Reader
	// Keepalive pings the server, and closes the transport when it does not answer.
	Keepalive
	// Elsewhere: it takes a transport down for a reason of the client's own, or for its health.
	Elsewhere
)

// Goroutine is what is known of the goroutine that runs.
type Goroutine struct {
	Place Place
	// Connector is the number of the goroutine that connected the transport: its own where it is the one. It is zero where
	// there is none.
	Connector uint64
}

// traces are buffers for stack traces. Those of the places where gRPC reports a connection take 2 to 3 KiB.
var traces = sync.Pool{New: func() any { return new([16 << 10]byte) }}

// longTrace is enough for any stack but one that recurses without end.
const longTrace = 1 << 20

// Own returns the number of the goroutine that runs, or zero if it is not known.
func Own() uint64 {
	buffer := traces.Get().(*[16 << 10]byte)
	defer traces.Put(buffer)
	return own(buffer[:runtime.Stack(buffer[:], false)])
}

// Current returns what is known of the goroutine that runs, whose place is Nowhere if gRPC is not as redial knows it.
// It takes some 10 µs, and is made only when a connection begins and when it is lost.
func Current() Goroutine {
	buffer := traces.Get().(*[16 << 10]byte)
	defer traces.Put(buffer)
	n := runtime.Stack(buffer[:], false)
	if n < len(buffer) {
		return read(buffer[:n])
	}
	long := make([]byte, longTrace)
	return read(long[:runtime.Stack(long, false)])
}

func read(trace []byte) Goroutine {
	has := func(name string) bool { return bytes.Contains(trace, []byte(name)) }
	var g Goroutine
	switch {
	case has(TraceNames.Reader):
		g = Goroutine{Reader, connector(trace)}
	case has(TraceNames.Keepalive):
		g = Goroutine{Keepalive, connector(trace)}
	case has(TraceNames.Connecting):
		g = Goroutine{Connecting, own(trace)}
	default:
		for _, name := range TraceNames.Elsewhere {
			if has(name) {
				return Goroutine{Place: Elsewhere}
			}
		}
	}
	if g.Connector == 0 {
		return Goroutine{}
	}
	return g
}

func own(trace []byte) uint64 {
	rest, ok := bytes.CutPrefix(trace, []byte("goroutine "))
	if !ok {
		return 0
	}
	return number(rest)
}

func connector(trace []byte) uint64 {
	_, rest, ok := bytes.Cut(trace, []byte(TraceNames.StartedBy))
	if !ok {
		return 0
	}
	return number(rest)
}

// number reads the digits at the begin of a text.
func number(text []byte) uint64 {
	end := bytes.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(text)
	}
	n, err := strconv.ParseUint(string(text[:end]), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
