package record

import "sync/atomic"

// streams is what is known of the server's limit on the concurrent streams of a transport, which gRPC does not reveal.
// An RPC that begins near it is followed, so that its wait for a stream is seen; others cost two atomic reads.
type streams struct {
	// room is how many RPCs the transport had at once without a wait for a stream, and full how few when one had to wait;
	// zero if none had.
	room, full atomic.Int32
	near       atomic.Bool // Counted by the channel.
}

// changed records how many RPCs the transport has now.
func (s *streams) changed(c *Channel, n int64) {
	full := int64(s.full.Load())
	near := n > 0 && (n >= int64(s.room.Load()) || full > 0 && n >= full-1)
	if s.near.Load() == near || !s.near.CompareAndSwap(!near, near) {
		return
	}
	if near {
		c.nearLimit.Add(1)
	} else {
		c.nearLimit.Add(-1)
	}
}

// hadRoom records that one of n RPCs had its stream at once.
func (s *streams) hadRoom(n int64) {
	for {
		room := s.room.Load()
		if n <= int64(room) || s.room.CompareAndSwap(room, int32(n)) {
			return
		}
	}
}

// waited records that one of n RPCs had to wait for its stream.
func (s *streams) waited(n int64) {
	for {
		full := s.full.Load()
		if full > 0 && n >= int64(full) || s.full.CompareAndSwap(full, max(int32(n), 1)) {
			return
		}
	}
}
