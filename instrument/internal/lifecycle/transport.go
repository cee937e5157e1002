package lifecycle

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
)

const (
	// subchannelShutdown is gRPC's word (gRFC A94) for a transport that its own channel took down.
	subchannelShutdown = "subchannel shutdown"
	// Grace is how long the record of a transport that is gone waits for its last RPCs, whose errors tell the most.
	Grace = time.Second
)

// Transport is one HTTP/2 connection.
type Transport struct {
	// InFlight counts the RPCs on it. Any goroutine may add to it.
	InFlight atomic.Int64

	ch      *Channel
	sub     *Subchannel
	probe   func() *event.TCP
	head    event.Head
	id      event.ID // Zero until READY.
	address string
	conn    event.Conn
	start   time.Time

	evidence    failure.Evidence
	loss        *Loss                // The one that is known to be this transport's, or nil.
	seen        map[*Loss]*event.TCP // The socket at each loss that may be this one's.
	cause       event.Cause          // Set where this side took it down.
	lost, goneT time.Time
	interrupted int64
	inFlight    int64 // At the loss.
	retried     int64
	// suspects are the RPCs that ended as if the transport were lost, before it was known to be.
	suspects suspects
	// down: its subchannel left READY. gone: the connection is closed. told: its draining was.
	down, gone, told bool
}

// ConnBegin tells that the handshake is done and the HTTP/2 preface goes out. The probe reads the socket's state
// and may be nil.
func (s *Subchannel) ConnBegin(at time.Time, probe func() *event.TCP) *Transport {
	t := &Transport{ch: s.ch(), probe: probe}
	a := s.connectDialed(at)
	if a == nil {
		return t
	}
	s.discard()
	if a.open {
		s.endPhase(at, nil, nil)
	}
	a.begin(event.Settings, s.ch().advance(at))
	s.attach(t)
	return t
}

// up reports whether the subchannel has a connection, READY or not.
func (s *Subchannel) up() bool { return s.transport != nil && !s.transport.gone }

func (s *Subchannel) attach(t *Transport) {
	t.sub = s
	s.transport = t
	s.ch().live[t] = struct{}{}
}

// discard forgets a connection that never became READY.
func (s *Subchannel) discard() {
	if s.transport != nil {
		delete(s.ch().live, s.transport)
		s.transport = nil
	}
}

// ready makes the connection a transport for RPCs.
func (t *Transport) ready(at time.Time, s *Subchannel) {
	head := s.head(at)
	t.id, t.head, t.start, t.address = t.ch.cfg.NextID(), head, head.Time, s.address
	ready := event.TransportReady{Head: head, Transport: t.id, Address: t.address, Conn: t.conn}
	if e := s.endpoint.episode; e != nil {
		ready.Episode = e.id
	}
	s.emit(ready)
}

// stillUp takes back a loss: a failing health check makes gRPC count a disconnection, but the connection stays.
func (t *Transport) stillUp() {
	if t.lost.IsZero() {
		t.infer()
	}
	t.loss, t.lost, t.inFlight, t.evidence = nil, time.Time{}, 0, failure.Evidence{}
	t.ch.live[t] = struct{}{}
}

// goDown tells that the transport takes no new RPCs: its subchannel left READY. The cause is set where this side
// took it down.
func (t *Transport) goDown(at time.Time, cause event.Cause) {
	c, s := t.ch, t.sub
	if t.id == 0 {
		s.discard()
		return
	}
	delete(c.live, t)
	s.transport = nil
	if e := s.endpoint; e.up == t {
		e.up, e.lost = nil, t.id
	}
	t.down = true
	if t.lost.IsZero() && cause == "" {
		t.infer()
	}
	at = c.advance(at)
	t.inFlight = max(t.inFlight, t.InFlight.Load())
	if t.lost.IsZero() {
		t.lost = at
		if cause != "" {
			t.cause, t.evidence.Disconnect = cause, subchannelShutdown
		}
	}
	if t.suspects.n > 0 && !t.suspects.since.Before(t.lost) {
		t.killed(t.suspects.n, t.suspects.text)
	}
	c.leaving[t] = struct{}{}
	if !t.gone && (t.cause != "" || t.evidence.GoAwayCode() != "") {
		t.tellDraining(at)
	}
	t.Check(at)
}

func (t *Transport) tellDraining(at time.Time) {
	n := t.InFlight.Load()
	if t.told || n <= 0 || t.id == 0 {
		return
	}
	t.told = true
	t.sub.emit(event.TransportDraining{
		Head: t.headAt(at), Transport: t.id, Cause: t.why(), DisconnectError: t.evidence.Disconnect, InFlight: n,
	})
}

// ConnEnd tells that the connection is closed, and which goroutine of gRPC told so.
func (t *Transport) ConnEnd(at time.Time, teller uint64) {
	t.gone, t.goneT = true, t.ch.advance(at)
	t.prove(teller)
	if t.sub != nil {
		t.Check(at)
	}
}

// RPCRetried tells that gRPC sends one of the transport's RPCs again, on another one: the server had not seen it.
func (t *Transport) RPCRetried() { t.retried++ }

// RPCKilled tells that one of the transport's RPCs ended as Unavailable, with the given error. It counts if the
// transport is lost.
func (t *Transport) RPCKilled(at time.Time, text string) {
	switch {
	case !t.lost.IsZero():
		t.killed(1, text)
		t.Check(at)
	case len(t.ch.pending) > 0:
		if t.suspects.n == 0 {
			t.suspects.since = t.ch.advance(at)
		}
		t.suspects.n++
		t.suspects.text = text
	}
}

type suspects struct {
	n     int64
	since time.Time
	text  string
}

func (t *Transport) killed(n int64, text string) {
	t.interrupted += n
	if t.evidence.RPC == "" || strings.Contains(text, "debug data") {
		t.evidence.RPC = text
	}
}

// Lost reports the transport's id and the cause of its loss so far, if it is lost.
func (t *Transport) Lost() (id event.ID, cause event.Cause, lost bool) {
	return t.id, t.why(), t.id != 0 && !t.lost.IsZero()
}

// Deadline returns when [Transport.Check] ends the transport at the latest, or zero if that is not known yet.
func (t *Transport) Deadline() time.Time {
	if _, leaving := t.ch.leaving[t]; !leaving || !t.gone {
		return time.Time{}
	}
	return t.goneT.Add(Grace)
}

// Ended reports whether nothing more will be told of the transport.
func (t *Transport) Ended() bool {
	_, live := t.ch.live[t]
	_, leaving := t.ch.leaving[t]
	return t.gone && !live && !leaving
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
	if _, open := c.leaving[t]; !open {
		return
	}
	delete(c.leaving, t)
	head := t.headAt(at)
	if t.goneT.IsZero() {
		t.goneT = head.Time
	}
	lost := latest(t.lost, t.start) // It may be lost before it is told to be READY.
	ended := event.TransportEnded{
		Head: head, Transport: t.id, Address: t.address, Conn: t.conn, Start: t.start, Lost: lost,
		Gone: latest(t.goneT, lost), Cause: t.why(), Outcome: o, DisconnectError: t.evidence.Disconnect,
		HTTP2ErrorCode: t.evidence.GoAwayCode(), GoAwayDebugData: t.evidence.GoAwayDebugData(),
		InFlight: max(t.inFlight, t.interrupted+t.retried), Interrupted: t.interrupted + max(0, t.InFlight.Load()),
		Retried: t.retried, TCP: t.evidence.TCP, RPCError: t.evidence.RPC,
	}
	t.sub.endpoint.remember(ended)
	t.sub.emit(ended)
}

func (t *Transport) why() event.Cause {
	if t.cause != "" {
		return t.cause
	}
	e := t.evidence
	e.Askable = t.probe != nil
	return e.Cause()
}

func (t *Transport) headAt(at time.Time) event.Head {
	h := t.head
	h.Time = t.ch.advance(at)
	return h
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
