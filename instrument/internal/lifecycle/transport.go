package lifecycle

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
)

// Grace is how long the record of a transport that is gone waits for its last RPCs, whose errors tell the most.
const Grace = time.Second

// Transport is one HTTP/2 connection.
type Transport struct {
	// InFlight counts the RPCs on it. Any goroutine may add to it.
	InFlight atomic.Int64

	ch      *Channel
	sub     *Subchannel
	id      event.ID // Zero until READY.
	address string
	conn    event.Conn
	start   time.Time

	evidence    failure.Evidence
	cause       event.Cause // Set where this side took it down.
	lost, goneT time.Time
	interrupted int64
	inFlight    int64 // At the loss.
	retried     int64
	// down: its subchannel left READY. gone: the connection is closed. told: its draining was.
	down, gone, told bool
}

// ConnBegin tells that the handshake is done and the HTTP/2 preface goes out, and whether the kernel can be asked about
// the socket.
func (s *Subchannel) ConnBegin(at time.Time, tcpInfoAvailable bool) *Transport {
	t := &Transport{ch: s.ch(), evidence: failure.Evidence{TCPInfoAvailable: tcpInfoAvailable}}
	a := s.connectDialed(at)
	if a == nil {
		return t
	}
	s.discard()
	if a.open {
		s.endPhase(at, nil, nil)
	}
	a.begin(event.PhaseSettings, s.ch().advance(at))
	s.attach(t)
	return t
}

// up reports whether the subchannel has a connection, READY or not.
func (s *Subchannel) up() bool { return s.transport != nil && !s.transport.gone }

func (s *Subchannel) attach(t *Transport) {
	t.sub = s
	s.transport = t
}

// discard forgets a connection that never became READY.
func (s *Subchannel) discard() { s.transport = nil }

// ready makes the connection a transport for RPCs.
func (t *Transport) ready(at time.Time, s *Subchannel) {
	head := s.head(at)
	t.id, t.start, t.address = t.ch.cfg.NextID(), head.Time, s.address
	ready := event.TransportReady{Header: head, Transport: t.id, Address: t.address, Conn: t.conn}
	if e := s.endpoint.episode; e != nil {
		ready.Episode = e.id
	}
	s.emit(ready)
}

// Disconnected reports that gRPC lost the transport, in its own word (the label grpc.disconnect_error of gRFC A94), and what the
// kernel knew of the socket then, if it was asked. It comes before the news of the subchannel that left READY, and
// before the news of the RPCs that die.
func (t *Transport) Disconnected(at time.Time, disconnectError string, tcp *event.TCP) {
	if !t.lost.IsZero() && t.cause == "" {
		return
	}
	t.cause = "" // Where this side took it down too, gRPC had lost it before.
	t.lost = t.ch.advance(at)
	t.inFlight = max(t.inFlight, t.InFlight.Load())
	t.evidence.DisconnectError, t.evidence.TCP = disconnectError, tcp
}

// TCP returns what the kernel knew of the socket at the loss, or nil.
func (t *Transport) TCP() *event.TCP { return t.evidence.TCP }

// drain tells that the transport takes no new RPCs: its subchannel left READY. The cause is set where this side
// took it down.
func (t *Transport) drain(at time.Time, cause event.Cause) {
	c, s := t.ch, t.sub
	if t.id == 0 {
		s.discard()
		return
	}
	s.transport = nil
	if e := s.endpoint; e.up == t {
		e.up, e.lost = nil, t.id
	}
	t.down = true
	at = c.advance(at)
	t.inFlight = max(t.inFlight, t.InFlight.Load())
	if t.lost.IsZero() {
		t.lost = at
		if cause != "" {
			t.cause, t.evidence.DisconnectError = cause, failure.SubchannelShutdown
		}
	}
	c.leaving.add(t)
	if !t.gone && (t.cause != "" || t.evidence.GoAwayCode() != "") {
		t.reportDraining(at)
	}
	t.Check(at)
}

func (t *Transport) reportDraining(at time.Time) {
	n := t.InFlight.Load()
	if t.told || n <= 0 || t.id == 0 {
		return
	}
	t.told = true
	t.sub.emit(event.TransportDraining{
		Header: t.sub.head(at), Transport: t.id, Cause: t.why(), DisconnectError: t.evidence.DisconnectError, InFlight: n,
	})
}

// ConnEnd tells that the connection is closed.
func (t *Transport) ConnEnd(at time.Time) {
	t.gone, t.goneT = true, t.ch.advance(at)
	if t.sub != nil {
		t.Check(at)
	}
}

// RPCRetried tells that gRPC sends one of the transport's RPCs again, on another one: the server had not seen it.
func (t *Transport) RPCRetried() { t.retried++ }

// RPCKilled tells that one of the transport's RPCs ended as Unavailable, with the given error. It counts if the
// transport is lost.
func (t *Transport) RPCKilled(at time.Time, text string) {
	if t.lost.IsZero() {
		return
	}
	t.interrupted++
	if t.evidence.RPCError == "" || strings.Contains(text, "debug data") {
		t.evidence.RPCError = text
	}
	t.Check(at)
}

// Lost reports the transport's id and the cause of its loss so far, if it is lost.
func (t *Transport) Lost() (id event.ID, cause event.Cause, lost bool) {
	return t.id, t.why(), t.id != 0 && !t.lost.IsZero()
}

// Leaving reports whether the transport is gone and its record is not: [Transport.Check] ends it when its RPCs are done, or
// after [Grace].
func (t *Transport) Leaving() bool { return t.gone && slices.Contains(t.ch.leaving, t) }

// Ended reports whether nothing more will be told of the transport.
func (t *Transport) Ended() bool {
	up := t.sub != nil && t.sub.transport == t
	return t.gone && !up && !slices.Contains(t.ch.leaving, t)
}

// Check ends the record of a transport that is gone once its RPCs are done, or were given enough time.
func (t *Transport) Check(at time.Time) {
	at = t.ch.advance(at)
	if t.down && t.gone && (t.InFlight.Load() <= 0 || !at.Before(t.goneT.Add(Grace))) {
		t.end(at, "")
	}
}

func (t *Transport) end(at time.Time, o event.Outcome) {
	c := t.ch
	if !c.leaving.remove(t) {
		return
	}
	head := t.sub.head(at)
	if t.goneT.IsZero() {
		t.goneT = head.Time
	}
	lost := latest(t.lost, t.start) // It may be lost before it is told to be READY.
	ended := event.TransportEnded{
		Header: head, Transport: t.id, Address: t.address, Conn: t.conn, Start: t.start, Lost: lost,
		Gone: latest(t.goneT, lost), Cause: t.why(), Outcome: o, DisconnectError: t.evidence.DisconnectError,
		HTTP2ErrorCode: t.evidence.GoAwayCode(), GoAwayDebugData: t.evidence.GoAwayDebugData(),
		InFlight: max(t.inFlight, t.interrupted+t.retried), Interrupted: t.interrupted + max(0, t.InFlight.Load()),
		Retried: t.retried, TCP: t.evidence.TCP, RPCError: t.evidence.RPCError,
	}
	t.sub.endpoint.remember(ended)
	t.sub.emit(ended)
}

func (t *Transport) why() event.Cause {
	if t.cause != "" {
		return t.cause
	}
	return t.evidence.Cause()
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
