package failure

import (
	"time"

	"github.com/redial-dev/redial/instrument/event"
)

// Path is what the kernel knows of the way of an RPC to the peer.
type Path string

const (
	// PathDead: the kernel sent again what the peer did not acknowledge, or probed the peer, in vain.
	PathDead Path = "dead"
	// PathAcknowledged: the peer's kernel acknowledged the RPC.
	PathAcknowledged Path = "acknowledged"
	// PathUnknown is given where the evidence is not conclusive.
	PathUnknown Path = "unknown"
)

const (
	// vain is how often the kernel sends in vain before a path is dead from which nothing comes, and hopeless if something
	// comes: what the peer sends again since it gets no acknowledgement either, where one direction is dead. Less may be a
	// path that loses some packets.
	vain, hopeless = 2, 4
	// cancellation is more than the bytes of an RPC's cancellation, RST_STREAM in a record of TLS, and less than those of
	// any RPC: a HEADERS frame with its deadline, and a DATA frame.
	cancellation = 36
	// delayedAck is for how long a peer keeps back an acknowledgement at most.
	delayedAck = 200 * time.Millisecond
	// clockStep is how far apart two times of the kernel's may be that are of the same moment.
	clockStep = 10 * time.Millisecond
)

// PathOfRPC returns what the socket says, which may be nil, of an RPC that has just ended, and was sent so long before
// the socket was read. The RPC's cancellation may be on its way.
func PathOfRPC(tcp *event.TCP, age time.Duration) Path { return pathOf(tcp, age, cancellation) }

// PathSince returns what the socket says of all that was sent until so long before it was read.
func PathSince(tcp *event.TCP, age time.Duration) Path { return pathOf(tcp, age, 0) }

func pathOf(tcp *event.TCP, age time.Duration, besides int64) Path {
	switch {
	case tcp == nil || tcp.State != "ESTABLISHED":
	case dead(tcp):
		return PathDead
	case acknowledged(tcp, age, besides):
		return PathAcknowledged
	}
	return PathUnknown
}

// InVain reports whether the kernel has sent or probed in vain often enough for a dead path. An acknowledgement makes
// it count anew.
func InVain(tcp *event.TCP) bool {
	return tcp.Unacked > 0 && tcp.Timeouts >= vain || tcp.Probes >= vain
}

// Silence returns for how long the peer of a dead path acknowledged nothing, at least.
func Silence(tcp *event.TCP) time.Duration { return max(tcp.RTO*3/4, min(tcp.Idle, tcp.AckIdle)) }

// dead: when the kernel has sent twice in vain, three of its first timeouts have passed, and the timeout has doubled
// twice. So nothing came if nothing was received for three quarters of the timeout.
func dead(tcp *event.TCP) bool {
	silent := min(tcp.Idle, tcp.AckIdle) >= tcp.RTO*3/4
	return InVain(tcp) && (silent || tcp.Timeouts >= hopeless)
}

// acknowledged: no more bytes are in flight than those that may be besides; or what was received last answers what was
// sent, since it came so much later; or the kernel would have sent again.
func acknowledged(tcp *event.TCP, age time.Duration, besides int64) bool {
	written := tcp.Unsent == 0 && age > clockStep && tcp.SendIdle < age+clockStep
	if !written || tcp.Timeouts > 0 || tcp.Probes > 0 {
		return false
	}
	heard := age - min(tcp.Idle, tcp.AckIdle) // Since it was sent.
	return tcp.Unacked == 0 || tcp.InFlight <= besides || heard > tcp.RTT+delayedAck || age > 3*tcp.RTO
}
