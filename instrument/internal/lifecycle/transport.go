package lifecycle

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
)

// Grace is how long the record of a transport whose connection is closed waits for its last RPCs, whose errors say the
// most about the loss.
const Grace = time.Second

// transportState is where a transport is on its way:
//
//	            READY         leaves READY       closed            RPCs done
//	connected ─────────► ready ─────────► draining ─────► finishing ─────────► ended
//	    │ │                │   closed               leaves READY ▲               ▲ ▲
//	    │ └────────────────┴──────────► closed ──────────────────┘               │ │
//	    │   closed                        └──────────────────────────────────────┘ │
//	    └──────────► unused ───────────────────────────────────────────────────────┘
//	     never READY           closed
//
// Closed and "leaves READY" come in either order: a goroutine of the transport closes the connection, and gRPC delivers
// the subchannel's state on another. A transport that redial is shut down with goes from draining to ended.
type transportState uint8

const (
	// connected: the handshake is done, and the server's SETTINGS are awaited.
	connected transportState = iota
	// ready: it takes RPCs.
	ready
	// draining: its subchannel left READY, and its connection is open.
	draining
	// closed: its connection is closed, and its subchannel did not leave READY, or CONNECTING, yet.
	closed
	// finishing: it is lost and closed, and its last RPCs may still end.
	finishing
	// unused: it never became READY, and its connection is open.
	unused
	// ended: its record is complete.
	ended
)

var transportStates = [...]string{
	"connected", "ready", "draining", "closed", "finishing", "unused", "ended",
}

func (s transportState) String() string { return transportStates[s] }

// transportMoves says which states may follow which.
var transportMoves = [...][]transportState{
	connected: {ready, closed, unused},
	ready:     {draining, closed},
	draining:  {finishing, ended},
	closed:    {finishing, ended},
	finishing: {ended},
	unused:    {ended},
	ended:     {},
}

// RPCs counts the RPCs of a transport, which any goroutine may begin or end. The machine reads it with an input.
type RPCs interface {
	// InFlight returns how many RPCs the transport carries now.
	InFlight() int64
	// Sent returns how many RPCs were sent over the transport.
	Sent() int64
}

// Transport is one HTTP/2 connection.
type Transport struct {
	ch       *Channel
	sub      *Subchannel // Nil where the connection began when its subchannel wanted none.
	rpcs     RPCs        // Nil where the connection's begin was not seen.
	id       event.ID    // Zero until READY.
	*Address             // Zero where it is not known to which of several it leads.
	conn     event.Conn
	start    time.Time
	// notAfter is when the server's certificate expires, in Unix time, or zero.
	notAfter int64
	// sentBefore is what was sent before the newest interval of [Channel.Count], and spans whether it was READY then.
	sentBefore int64
	spans      bool
	state      transportState

	tcpInfoAvailable bool
	// loss is nil until something is known of it, and stall unless it stalled: a READY transport takes less memory so.
	loss  *loss
	stall *stall
}

// loss is what is known of the end of a transport.
type loss struct {
	evidence       failure.Evidence
	cause          event.Cause // Set where this side took it down.
	lostAt, goneAt time.Time
	interrupted    int64
	inFlight       int64 // When it was lost.
	retried        int64
	drainReported  bool
}

// losing returns the record of the transport's loss, and makes it if there is none.
func (t *Transport) losing() *loss {
	if t.loss == nil {
		t.loss = &loss{evidence: failure.Evidence{TCPInfoAvailable: t.tcpInfoAvailable}}
	}
	return t.loss
}

// ConnBegin reports that the handshake is done and the HTTP/2 preface is sent, and whether the kernel can be asked
// about the socket.
func (s *Subchannel) ConnBegin(at time.Time, rpcs RPCs, tcpInfoAvailable bool) *Transport {
	t := &Transport{ch: s.ch(), rpcs: rpcs, tcpInfoAvailable: tcpInfoAvailable, Address: nowhere}
	a := s.connectDialed(at)
	if a == nil {
		t.move(unused)
		return t
	}
	s.discard()
	if a.open {
		s.endPhase(at, nil, nil)
	}
	a.begin(event.PhaseSettings, s.ch().advance(at))
	t.sub, s.transport = s, t
	return t
}

// discard drops a connection that did not become READY.
func (s *Subchannel) discard() {
	t := s.transport
	if t == nil {
		return
	}
	s.transport = nil
	if t.state == closed {
		t.move(ended)
	} else {
		t.move(unused)
	}
}

// move changes the state, and reports whether it may.
func (t *Transport) move(to transportState) bool {
	if !slices.Contains(transportMoves[t.state], to) {
		if t.ch.interrupted { // The last inputs may have waited for the interruption.
			return false
		}
		t.ch.cfg.Fault(fmt.Errorf("redial: transport %d of channel %d cannot go from %s to %s, please report it",
			t.id, t.ch.id, t.state, to))
		return false
	}
	t.state = to
	if to == ended {
		t.ch.sent += t.sent()
	}
	return true
}

// open reports whether the connection is in use or about to be.
func (t *Transport) open() bool { return t.state == connected || t.state == ready }

// ready makes the connection a transport for RPCs. It may be closed already.
func (t *Transport) ready(at time.Time) {
	if t.state == connected {
		t.move(ready)
	}
	s := t.sub
	header := s.header(at)
	t.id, t.start = t.ch.cfg.NextID(), header.Time
	made := event.TransportReady{
		Header: header, Transport: t.id, Address: t.Server, Proxy: t.Proxy, Conn: t.conn,
	}
	if e := s.endpoint.episode; e != nil {
		made.Episode = e.id
	}
	s.emit(made)
}

// Disconnected reports that gRPC lost the transport, and what is known of that. It comes before gRPC reports that the
// subchannel left READY, and before the RPCs end that die of it.
func (t *Transport) Disconnected(at time.Time, loss failure.Loss) {
	l := t.losing()
	if t.lost() && l.cause == "" {
		return
	}
	l.cause = "" // Where this side took it down too, gRPC had lost it before.
	l.lostAt = t.ch.advance(at)
	l.inFlight = max(l.inFlight, t.inFlight())
	l.evidence.Loss = loss
}

// TCP returns what the kernel knew of the socket at the loss, or nil.
func (t *Transport) TCP() *event.TCP { return t.losing().evidence.TCP }

// drain takes the transport out of use: its subchannel left READY. The cause is set where this side took it down.
func (t *Transport) drain(at time.Time, cause event.Cause) {
	l := t.losing()
	c, s := t.ch, t.sub
	if t.id == 0 {
		s.discard()
		return
	}
	s.transport = nil
	if e := s.endpoint; e.up == t {
		e.lose()
	}
	at = c.advance(at)
	l.inFlight = max(l.inFlight, t.inFlight())
	if !t.lost() {
		l.lostAt = at
		if cause != "" {
			l.cause, l.evidence.DisconnectError = cause, failure.SubchannelShutdown
		}
	}
	c.leaving.add(t)
	if t.state == closed {
		t.move(finishing)
	} else if t.move(draining) && (l.cause != "" || l.evidence.GoAwayCode() != "") {
		t.reportDraining(at)
	}
	t.Check(at)
}

func (t *Transport) reportDraining(at time.Time) {
	l := t.losing()
	n := t.inFlight()
	if l.drainReported || n <= 0 {
		return
	}
	l.drainReported = true
	t.sub.emit(event.TransportDraining{
		Header: t.sub.header(at), Transport: t.id, Cause: t.why(), DisconnectError: l.evidence.DisconnectError, InFlight: n,
	})
}

// ConnEnd reports that the connection is closed.
func (t *Transport) ConnEnd(at time.Time) {
	to := closed
	switch t.state {
	case draining:
		to = finishing
	case unused:
		to = ended
	}
	if t.move(to) {
		t.losing().goneAt = t.ch.advance(at)
		t.Check(at)
	}
}

// RPCRetried reports that gRPC sends one of the transport's RPCs again, on another one: the server did not process it.
// It counts if the transport is lost, or is about to be reported as lost (closing). Of a channel that is closed there
// is no other transport: gRPC ends the RPC.
func (t *Transport) RPCRetried(closing bool) {
	if !closing && !t.lost() {
		return
	}
	if l := t.losing(); l.cause == event.CauseChannelClosed {
		l.interrupted++
	} else {
		l.retried++
	}
}

// RPCClosed reports that ClientConn.Close ended one of the transport's RPCs. gRPC may report that before it closes the
// transport.
func (t *Transport) RPCClosed(at time.Time) {
	t.losing().interrupted++
	t.Check(at)
}

// RPCKilled reports that one of the transport's RPCs died of the transport's loss, with the given error. It counts if
// the transport is lost. A transport that this side drained was lost before it was drained, then.
func (t *Transport) RPCKilled(at time.Time, text string) {
	if !t.lost() {
		return
	}
	l := t.losing()
	l.interrupted++
	l.cause = ""
	if l.evidence.RPCError == "" || strings.Contains(text, "debug data") {
		l.evidence.RPCError = text
	}
	t.Check(at)
}

// ID returns the transport's id, or zero if it was never READY.
func (t *Transport) ID() event.ID { return t.id }

// Lost returns the transport's id and the cause of its loss so far, and whether it is lost.
func (t *Transport) Lost() (id event.ID, cause event.Cause, lost bool) {
	return t.id, t.why(), t.id != 0 && t.lost()
}

// LostToPeer reports whether the transport is lost, and this side did not take it down.
func (t *Transport) LostToPeer() bool { return t.lost() && t.loss.cause == "" }

// Reported reports whether the transport was READY.
func (t *Transport) Reported() bool { return t.id != 0 }

// Finishing reports whether the transport is lost and closed and its record is not complete: [Transport.Check] ends it
// when its RPCs are done, or after [Grace].
func (t *Transport) Finishing() bool { return t.state == finishing }

// Ended reports whether nothing more will be reported of the transport.
func (t *Transport) Ended() bool { return t.state == ended }

// Check ends the record of a transport that is finishing once its RPCs are done, or were given enough time.
func (t *Transport) Check(at time.Time) {
	at = t.ch.advance(at)
	if t.state == finishing && (t.inFlight() <= 0 || !at.Before(t.losing().goneAt.Add(Grace))) {
		t.end(at, "")
	}
}

// end completes the record of a transport that is draining or finishing.
func (t *Transport) end(at time.Time, o event.Outcome) {
	l := t.losing()
	t.move(ended)
	t.ch.leaving.remove(t)
	header := t.sub.header(at)
	if l.goneAt.IsZero() {
		l.goneAt = header.Time
	}
	lost := latest(l.lostAt, t.start) // gRPC may lose it before it reports READY.
	t.endStall(lost)
	done := event.TransportEnded{
		Header: header, Transport: t.id, Address: t.Server, Proxy: t.Proxy, Conn: t.conn, Start: t.start, Lost: lost,
		Gone: latest(l.goneAt, lost), Cause: t.why(), Outcome: o, DisconnectError: l.evidence.DisconnectError,
		HTTP2ErrorCode: l.evidence.GoAwayCode(), GoAwayDebugData: l.evidence.GoAwayDebugData(),
		InFlight: max(l.inFlight, l.interrupted+l.retried), Interrupted: l.interrupted + max(0, t.inFlight()),
		Retried: l.retried, RPCs: t.sent(), Stalled: t.stalledFor(), TCP: l.evidence.TCP, RPCError: l.evidence.RPCError,
	}
	t.sub.endpoint.remember(done)
	t.sub.emit(done)
}

func (t *Transport) lost() bool { return t.loss != nil && !t.loss.lostAt.IsZero() }

func (t *Transport) inFlight() int64 {
	if t.rpcs == nil {
		return 0
	}
	return t.rpcs.InFlight()
}

func (t *Transport) sent() int64 {
	if t.rpcs == nil {
		return 0
	}
	return t.rpcs.Sent()
}

func (t *Transport) why() event.Cause {
	l := t.losing()
	if l.cause != "" {
		return l.cause
	}
	return l.evidence.Cause()
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
