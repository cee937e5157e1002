package fidelity

import (
	"slices"
	"sync"
)

// deaths are the RPCs of one channel that died.
type deaths struct {
	// killed by the loss of a transport, closed by ClientConn.Close, with a transport or without, and unprocessed: the
	// server had not seen them, for the second time, so that gRPC did not send them again.
	killed, closed, unprocessed int64
}

// rpcs are those that died, by the target, as their callers know it.
type rpcs struct {
	mu       sync.Mutex
	byTarget map[string]deaths
}

// grpc-go's own errors of RPCs.
var (
	closed      = []string{"grpc: the client connection is closing", "grpc: the connection is closing"}
	unprocessed = []string{
		"the connection is draining", "transport is closing",
		"the stream is rejected because server is draining the connection",
		"stream terminated by RST_STREAM with error code: REFUSED_STREAM",
	}
)

// died notes an RPC that ended Unavailable, or was cancelled.
func (r *rpcs) died(target string, unavailable bool, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byTarget == nil {
		r.byTarget = map[string]deaths{}
	}
	d := r.byTarget[target]
	switch {
	case slices.Contains(closed, message):
		d.closed++
	case slices.Contains(unprocessed, message):
		d.unprocessed++
	case unavailable:
		d.killed++
	}
	r.byTarget[target] = d
}
