package grpcinternals

import (
	"bytes"
	"runtime"
	"strconv"
	"sync"
)

// traces are buffers for stack traces. Those of the places where gRPC reports a connection take 2 to 3 KiB.
var traces = sync.Pool{New: func() any { return new([16 << 10]byte) }}

// Goroutines returns the number of the goroutine that runs, and of the one that connected the transport that it serves,
// or zero if it serves none.
//
// gRPC reports a loss without naming the transport, but it does so in the transport's reader or keepalive, which were
// started by the goroutine that connected: the one that reported the connection's begin. Go shows the numbers in
// stack traces alone; no number is used twice. A trace takes some 10 µs, and is made only when a connection begins
// and when it is lost.
func Goroutines() (own, connector uint64) {
	own, connector, _ = Closing()
	return own, connector
}

// Role is what a goroutine does for its transport.
type Role uint8

const (
	// Other is neither of the two below, or not known.
	Other Role = iota
	// Reader reads from the server, and closes the transport when that fails.
	Reader
	// Keepalive pings the server, and closes the transport when it does not answer.
	Keepalive
)

// Closing is [Goroutines] with what the goroutine does, for the one that closes a transport.
func Closing() (own, connector uint64, role Role) {
	buffer := traces.Get().(*[16 << 10]byte)
	defer traces.Put(buffer)
	trace := buffer[:runtime.Stack(buffer[:], false)]
	if rest, ok := bytes.CutPrefix(trace, []byte("goroutine ")); ok {
		own = number(rest)
	}
	_, starter, _ := bytes.Cut(trace, []byte("\ncreated by google.golang.org/grpc/internal/transport."))
	if _, rest, ok := bytes.Cut(starter, []byte(" in goroutine ")); ok {
		connector = number(rest)
	}
	switch {
	case bytes.Contains(trace, []byte("internal/transport.(*http2Client).reader(")):
		role = Reader
	case bytes.Contains(trace, []byte("internal/transport.(*http2Client).keepalive(")):
		role = Keepalive
	}
	return own, connector, role
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
