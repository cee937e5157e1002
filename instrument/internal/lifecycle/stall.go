package lifecycle

import (
	"time"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
)

// stall is what is known of the times in which the peer of a READY transport acknowledged nothing. Few transports have
// one.
//
//	         dead        acknowledged
//	none ─────────► open ─────────────────────────► over ─► open ...
//	                  │ leaves READY
//	                  └────────────────────────────► over
type stall struct {
	since time.Time     // Zero unless it is open.
	total time.Duration // Of those that are over.
}

// RPCTimedOut reports that an RPC got no answer until its deadline, which was sent at a time, and what the kernel knew
// of the socket then. It returns what that says of the RPC.
func (t *Transport) RPCTimedOut(at, sent time.Time, tcp *event.TCP) failure.Path {
	sent = latest(sent, t.start) // It may have waited for the transport.
	path := failure.PathOfRPC(tcp, at.Sub(sent))
	t.see(at, sent, path, tcp)
	return path
}

// PathSeen reports what the kernel knows of the socket later, which is nil if it is closed, and since when an answer is
// due. It returns whether a later look may say more.
func (t *Transport) PathSeen(at, due time.Time, tcp *event.TCP) (again bool) {
	due = latest(due, t.start)
	path := failure.PathSince(tcp, at.Sub(due))
	t.see(at, due, path, tcp)
	if t.state != ready || tcp == nil {
		return false
	}
	pending := path == failure.PathUnknown && tcp.Unacked+tcp.Unsent+tcp.Probes > 0
	return pending || !t.stalledSince().IsZero()
}

func (t *Transport) see(at, due time.Time, path failure.Path, tcp *event.TCP) {
	stalled := !t.stalledSince().IsZero()
	switch {
	case t.state != ready:
	case !stalled && path == failure.PathDead:
		t.stalled(at, due, tcp)
	case stalled && tcp != nil && !failure.InVain(tcp):
		t.recovered(at)
	}
}

func (t *Transport) stalled(at, due time.Time, tcp *event.TCP) {
	if t.stall == nil {
		t.stall = &stall{}
	}
	t.stall.since = latest(due, at.Add(-failure.Silence(tcp)))
	t.sub.emit(event.TransportStalled{
		Header: t.sub.header(at), Transport: t.id, Start: t.stall.since, InFlight: t.inFlight(), TCP: tcp,
	})
}

func (t *Transport) recovered(at time.Time) {
	since := t.stalledSince()
	header := t.sub.header(at)
	t.endStall(header.Time)
	t.sub.emit(event.TransportRecovered{Header: header, Transport: t.id, Start: since})
}

func (t *Transport) endStall(at time.Time) {
	if since := t.stalledSince(); !since.IsZero() {
		t.stall.total += max(0, at.Sub(since))
		t.stall.since = time.Time{}
	}
}

// stalledSince returns since when nothing was acknowledged, or zero.
func (t *Transport) stalledSince() time.Time {
	if t.stall == nil {
		return time.Time{}
	}
	return t.stall.since
}

// stalledFor returns how long the stalls took that are over.
func (t *Transport) stalledFor() time.Duration {
	if t.stall == nil {
		return 0
	}
	return t.stall.total
}
