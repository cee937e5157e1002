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
	// grace is how long the record of a transport that is gone waits for its last RPCs, whose errors tell the most.
	grace = time.Second
	// maxProbes bounds the sockets that are looked at for one disconnection.
	maxProbes = 128
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
	cause       event.Cause // Set where this side took it down.
	lost, goneT time.Time
	interrupted int64
	// down: its subchannel left READY. gone: the connection is closed. told: its draining was.
	down, gone, told bool
}

// disconnection is a loss that gRPC told without telling whose it was.
type disconnection struct {
	at    time.Time
	label string
}

// ConnBegin tells that the handshake is done and the HTTP/2 preface goes out. The probe reads the socket's state
// and may be nil.
func (s *Subchannel) ConnBegin(at time.Time, probe func() *event.TCP) *Transport {
	t := &Transport{ch: s.ch(), probe: probe}
	a := s.connect(at)
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
	t.ch.emit(ready)
}

// Disconnected tells that some transport of the channel is lost, in gRPC's own word. It comes before the news of
// the subchannel that left READY, and while the socket is still open.
func (c *Channel) Disconnected(at time.Time, label string) {
	if label == subchannelShutdown || c.closed {
		return // The end of a policy or subchannel tells the same, and of whom.
	}
	at = c.advance(at)
	if len(c.live) <= maxProbes {
		for t := range c.live {
			if t.probe != nil {
				t.evidence.TCP = t.probe()
			}
		}
	}
	if len(c.live) == 1 {
		for t := range c.live {
			t.lose(at, label)
		}
		return
	}
	if len(c.pending) == maxPending {
		c.pending = c.pending[1:]
	}
	c.pending = append(c.pending, disconnection{at, label})
}

// lose records the first sign of the loss.
func (t *Transport) lose(at time.Time, label string) {
	delete(t.ch.live, t)
	t.lost, t.evidence.Disconnect = at, label
	if t.evidence.GoAwayCode() != "" {
		t.tellDraining(at)
	}
}

// claim finds the disconnection that was t's. Where several are open whose words differ, and the socket does not
// tell which is t's, none of them is believed any more.
func (t *Transport) claim() {
	c := t.ch
	if len(c.pending) == 0 {
		return
	}
	first := c.pending[0]
	same := true
	fits := []int{}
	for i, d := range c.pending {
		same = same && d.label == first.label
		if fitsSocket(d.label, t.evidence.TCP) {
			fits = append(fits, i)
		}
	}
	mine := 0
	switch {
	case same:
	case len(fits) == 1:
		mine = fits[0]
	default:
		for i := range c.pending {
			c.pending[i].label = ""
		}
	}
	t.lost, t.evidence.Disconnect = c.pending[mine].at, c.pending[mine].label
	c.pending = append(c.pending[:mine], c.pending[mine+1:]...)
}

// fitsSocket reports whether gRPC's word may be said of a socket in that state.
func fitsSocket(label string, tcp *event.TCP) bool {
	if tcp == nil {
		return true
	}
	switch label {
	case "connection reset", "connection timed out", "connection aborted":
		return tcp.State == "CLOSE"
	case "unknown":
		return tcp.State != "CLOSE"
	}
	return true
}

// stillUp takes back a loss: a failing health check makes gRPC count a disconnection, but the connection stays.
func (t *Transport) stillUp() {
	if t.lost.IsZero() {
		t.claim()
	}
	t.lost, t.evidence = time.Time{}, failure.Evidence{}
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
	if t.lost.IsZero() {
		t.claim()
	}
	at = c.advance(at)
	if t.lost.IsZero() {
		t.lost = at
		if cause != "" {
			t.cause, t.evidence.Disconnect = cause, subchannelShutdown
		}
	}
	c.leaving[t] = struct{}{}
	if !t.gone {
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
	t.ch.emit(event.TransportDraining{
		Head: t.headAt(at), Transport: t.id, Cause: t.why(), DisconnectError: t.evidence.Disconnect, InFlight: n,
	})
}

// ConnEnd tells that the connection is closed.
func (t *Transport) ConnEnd(at time.Time) {
	t.gone, t.goneT = true, t.ch.advance(at)
	if t.sub != nil {
		t.Check(at)
	}
}

// RPCKilled tells that one of the transport's RPCs ended with the given error, which may be the transport's own.
func (t *Transport) RPCKilled(at time.Time, text string) {
	if t.lost.IsZero() && len(t.ch.pending) == 0 {
		return
	}
	t.interrupted++
	if t.evidence.RPC == "" || strings.Contains(text, "debug data") {
		t.evidence.RPC = text
	}
	t.Check(at)
}

// Lost reports the cause of the transport's loss so far, if it is lost.
func (t *Transport) Lost() (event.Cause, bool) {
	return t.why(), t.id != 0 && !t.lost.IsZero()
}

// Deadline returns when [Transport.Check] ends the transport at the latest, or zero if that is not known yet.
func (t *Transport) Deadline() time.Time {
	if _, leaving := t.ch.leaving[t]; !leaving || !t.gone {
		return time.Time{}
	}
	return t.goneT.Add(grace)
}

// Check ends the record of a transport that is gone once its RPCs are done, or were given enough time.
func (t *Transport) Check(at time.Time) {
	at = t.ch.advance(at)
	if t.down && t.gone && (t.InFlight.Load() <= 0 || !at.Before(t.goneT.Add(grace))) {
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
	c.emit(event.TransportEnded{
		Head: head, Transport: t.id, Address: t.address, Conn: t.conn, Start: t.start, Lost: t.lost,
		Gone: latest(t.goneT, t.lost), Cause: t.why(), Outcome: o, DisconnectError: t.evidence.Disconnect,
		HTTP2ErrorCode: t.evidence.GoAwayCode(), GoAwayDebugData: t.evidence.GoAwayDebugData(),
		Interrupted: t.interrupted + max(0, t.InFlight.Load()), TCP: t.evidence.TCP, RPCError: t.evidence.RPC,
	})
}

func (t *Transport) why() event.Cause {
	if t.cause != "" {
		return t.cause
	}
	return t.evidence.Cause()
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
