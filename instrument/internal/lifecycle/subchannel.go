package lifecycle

import (
	"errors"
	"slices"
	"time"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
)

// errNextAddress is the failure of a phase that no one told the end of: gRPC went on to the next address.
var errNextAddress = errors.New("given up for the next address")

// Subchannel is one gRPC subchannel (a balancer.SubConn).
type Subchannel struct {
	endpoint *endpoint
	id       int64
	address  string
	state    event.State
	// stateSince is when the state was told.
	stateSince time.Time
	attempt    *attempt
	// toldAt is the time of the newest event of the subchannel, before which no attempt can have begun.
	toldAt time.Time
	// backoffSince is zero while the subchannel does not back off, and backoffIn the chapter in which it began to.
	backoffSince time.Time
	backoffIn    event.ID
	// failures counts the backoff waits since the subchannel was last READY or reset, as gRPC's own index does.
	failures int
	// transport is the one that is up; it may not be READY yet.
	transport *Transport
	// givenUp: a sibling won. What it still does before it is shut down is no attempt any more, while the winner is up.
	givenUp bool
	// obsolete: its address was taken away. It is no winner even if it is READY before it is shut down.
	obsolete bool
	// orphan: it was made by a policy that is closed, and is not told of.
	orphan bool
}

// attempt is one pass through the addresses of a subchannel.
type attempt struct {
	id      event.ID
	chapter event.ID // The one in which it began.
	number  int
	start   time.Time
	// phase is the one that is open or ended last; open tells which.
	phase      event.Phase
	open       bool
	phaseStart time.Time
	tried      []event.DialAttempt
	conn       event.Conn
	err        error
}

// Add tells that the policy made a subchannel, with the address of its first endpoint.
func (p *Policy) Add(at time.Time, id int64, address string) *Subchannel {
	e := p.own
	if e == nil {
		e = p.newEndpoint()
	}
	s := &Subchannel{endpoint: e, id: id, address: address}
	if p.closed {
		s.orphan = true
		return s
	}
	e.subchannels = append(e.subchannels, s)
	s.setState(at, event.StateIdle, nil)
	return s
}

// Address returns the address of the subchannel.
func (s *Subchannel) Address() string { return s.address }

// SetAddress tells that the policy gave the subchannel another address.
func (s *Subchannel) SetAddress(address string) { s.address = address }

func (s *Subchannel) ch() *Channel { return s.endpoint.policy.ch }

func (s *Subchannel) emit(e event.Event) {
	s.toldAt = e.EventHeader().Time
	s.ch().emit(e)
}

func (s *Subchannel) head(at time.Time) event.Header {
	h := s.endpoint.head(at)
	h.Subchannel = s.id
	return h
}

// SetState tells the connectivity state that gRPC delivered to the subchannel's listener, with the error of a
// TRANSIENT_FAILURE.
func (s *Subchannel) SetState(at time.Time, to event.State, err error) {
	if to == event.StateShutdown {
		s.close(at, endingOf(s.ch().removalCause(s.address)))
		return
	}
	if s.orphan || s.state == event.StateShutdown {
		return
	}
	if s.givenUp && s.endpoint.up == nil {
		s.givenUp = false
	}
	if to == event.StateIdle {
		s.idle(at)
	}
	s.setState(at, to, err)
	if s.givenUp || s.obsolete {
		return
	}
	switch to {
	case event.StateConnecting:
		if !s.up() {
			s.connect(at)
		}
	case event.StateReady:
		s.ready(at)
	case event.StateTransientFailure:
		s.fail(at, err)
	}
}

func (s *Subchannel) setState(at time.Time, to event.State, err error) {
	if s.state == to {
		return
	}
	told := event.SubchannelState{Header: s.head(at), From: s.state, To: to}
	if to == event.StateTransientFailure { // gRPC repeats the error with the state that follows.
		told.Err = err
	}
	s.state, s.stateSince = to, told.Time
	s.emit(told)
}

// connect begins an attempt unless one is open or the subchannel has no use for one.
func (s *Subchannel) connect(at time.Time) *attempt {
	return s.connectSince(at, at)
}

// connectDialed is connect where the news of CONNECTING is late: the dial is over already. It began at the earliest
// when its policy wanted to connect and all that was told of the subchannel before was over.
func (s *Subchannel) connectDialed(at time.Time) *attempt {
	return s.connectSince(at, time.Time{})
}

func (s *Subchannel) connectSince(at, since time.Time) *attempt {
	if s.attempt != nil || s.givenUp || s.obsolete || s.orphan || s.ch().over() {
		return s.attempt
	}
	if s.transport != nil { // A dial that ran ahead of the news that the old transport is lost.
		s.transport.drain(at, "")
	}
	s.endBackoff(at)
	s.endpoint.connect(at)
	s.endpoint.rollOver(at)
	episode := s.endpoint.episode
	episode.attempts++
	head := s.head(at)
	if since = latest(since, latest(episode.chapter, s.toldAt)); since.Before(head.Time) {
		head.Time = since
	}
	s.attempt = &attempt{id: s.ch().cfg.NextID(), chapter: episode.id, number: episode.attempts, start: head.Time}
	s.emit(event.AttemptStarted{
		Header: head, Episode: episode.id, Attempt: s.attempt.id, Number: s.attempt.number, Address: s.address,
	})
	s.attempt.begin(event.PhaseDial, head.Time)
	return s.attempt
}

func (a *attempt) begin(p event.Phase, at time.Time) {
	a.phase, a.open, a.phaseStart, a.err = p, true, at, nil
	if p == event.PhaseDial {
		a.tried = nil
	}
}

// endPhase closes the open phase.
func (s *Subchannel) endPhase(at time.Time, tls *event.TLS, err error) {
	a := s.attempt
	if !a.open {
		return
	}
	a.open, a.err = false, err
	ended := event.PhaseEnded{
		Header: s.head(at), Attempt: a.id, Phase: a.phase, Start: a.phaseStart, Conn: a.conn, TLS: tls,
		Err: err, ErrorType: failure.Type(err),
	}
	if a.phase == event.PhaseDial {
		ended.DialAttempts = a.tried
	}
	s.emit(ended)
}

// DialStart tells that the dialer is called.
func (s *Subchannel) DialStart(at time.Time) {
	a := s.connect(at)
	if a == nil {
		return
	}
	if a.open && a.phase != event.PhaseDial {
		s.endPhase(at, nil, errNextAddress)
	}
	a.begin(event.PhaseDial, s.ch().advance(at))
}

// DialAttempt tells that the dialer tries an address.
func (s *Subchannel) DialAttempt(at time.Time, address string) {
	if s.attempt != nil {
		s.attempt.tried = append(s.attempt.tried, event.DialAttempt{At: s.ch().advance(at), Address: address})
	}
}

// DialEnd tells what the dialer answered.
func (s *Subchannel) DialEnd(at time.Time, conn event.Conn, err error) {
	if a := s.attempt; a != nil && a.open && a.phase == event.PhaseDial {
		a.conn = conn
		s.endPhase(at, nil, err)
	}
}

// HandshakeStart tells that the credentials' handshake begins on a connection.
func (s *Subchannel) HandshakeStart(at time.Time, conn event.Conn) {
	a := s.connectDialed(at)
	if a == nil {
		return
	}
	a.conn = conn
	s.discard()
	if a.open {
		var err error
		if a.phase != event.PhaseDial {
			err = errNextAddress
		}
		s.endPhase(at, nil, err)
	}
	a.begin(event.PhaseHandshake, s.ch().advance(at))
}

// HandshakeEnd tells how the handshake went; tls is nil where it was none of TLS.
func (s *Subchannel) HandshakeEnd(at time.Time, tls *event.TLS, err error) {
	if a := s.attempt; a != nil && a.phase == event.PhaseHandshake {
		s.endPhase(at, tls, err)
	}
}

// ready ends the attempt well: the server's SETTINGS arrived.
func (s *Subchannel) ready(at time.Time) {
	t := s.transport
	if t == nil {
		// The connection came without a ConnBegin that could be told to be this subchannel's.
		t = &Transport{ch: s.ch(), gone: true}
		s.attach(t)
	}
	if a := s.attempt; a != nil {
		t.conn = a.conn
	}
	s.endAttempt(at, event.OutcomeReady, nil)
	s.failures = 0
	if t.id == 0 {
		t.ready(at, s)
	}
	s.endpoint.ready(at, s, t)
}

// idle ends what READY or a backoff had opened.
func (s *Subchannel) idle(at time.Time) {
	s.endBackoff(at)
	if s.attempt != nil {
		if s.transport == nil {
			s.endAttempt(at, event.OutcomeCancelled, nil)
			return
		}
		// gRPC goes from CONNECTING to IDLE when a connection came up and was lost before it could say READY.
		s.ready(at)
	}
	if s.transport != nil {
		s.transport.drain(at, "")
	}
}

func (s *Subchannel) fail(at time.Time, err error) {
	s.endpoint.err, s.endpoint.failedAt = err, s.ch().now
	if s.up() { // The health check failed: nothing redials.
		s.endAttempt(at, event.OutcomeFailed, err)
		return
	}
	if s.transport != nil {
		s.transport.drain(at, "")
	}
	if s.connect(at) == nil {
		return
	}
	s.endAttempt(at, event.OutcomeFailed, err)
	s.backoffSince, s.backoffIn = s.ch().now, s.endpoint.episode.id
	s.emit(event.BackoffStarted{Header: s.head(at), Episode: s.backoffIn})
}

func (s *Subchannel) endAttempt(at time.Time, o event.Outcome, err error) {
	a := s.attempt
	if a == nil {
		return
	}
	ended := event.AttemptEnded{Episode: a.chapter, Attempt: a.id, Number: a.number, Address: s.address,
		Conn: a.conn, Start: a.start, Outcome: o}
	cause := err
	if o != event.OutcomeReady && err == nil {
		cause = errAttempt[o]
	}
	if o == event.OutcomeFailed && s.up() {
		s.endPhase(at, nil, nil) // Unhealthy, but connected.
	} else {
		s.endPhase(at, nil, cause)
	}
	ended.Header = s.head(at)
	if o == event.OutcomeFailed {
		ended.Err, ended.ErrorType = err, failure.Type(err)
		if !s.up() {
			ended.Phase = a.phase
		}
		if a.err != nil {
			ended.ErrorType = failure.Type(a.err)
		}
	}
	s.attempt = nil
	s.emit(ended)
}

// errAttempt are the failures of the phases that were open when an attempt was given up.
var errAttempt = map[event.Outcome]error{
	event.OutcomeCancelled:     failure.NewCancelled("another address was faster"),
	event.OutcomeAbandoned:     failure.NewCancelled("subchannel removed"),
	event.OutcomeChannelClosed: failure.NewCancelled("channel closed"),
	event.OutcomeInterrupted:   failure.NewCancelled("redial was shut down"),
}

// endBackoff ends the wait: elapsed if it took as long as gRPC's backoff does at least, and else reset, which is
// what ClientConn.ResetConnectBackoff does.
func (s *Subchannel) endBackoff(at time.Time) {
	if s.backoffSince.IsZero() {
		return
	}
	waited := s.ch().advance(at).Sub(s.backoffSince)
	if waited < s.ch().cfg.Backoff(s.failures) {
		s.failures = 0
		s.endBackoffAs(at, event.OutcomeReset)
		return
	}
	s.failures++
	s.endBackoffAs(at, event.OutcomeElapsed)
}

func (s *Subchannel) endBackoffAs(at time.Time, o event.Outcome) {
	if s.backoffSince.IsZero() {
		return
	}
	head := s.head(at)
	ended := event.BackoffEnded{Header: head, Episode: s.backoffIn, Start: s.backoffSince, Outcome: o}
	s.backoffSince = time.Time{}
	if e := s.endpoint.episode; e != nil {
		e.backoff += head.Time.Sub(ended.Start)
	}
	s.emit(ended)
}

// giveUp ends what the subchannel does to connect.
func (s *Subchannel) giveUp(at time.Time, o event.Outcome) {
	s.endAttempt(at, o, nil)
	s.endBackoffAs(at, event.OutcomeShutdown)
	s.givenUp = true
}

func (s *Subchannel) close(at time.Time, why ending) {
	if s.state == event.StateShutdown || s.orphan {
		return
	}
	s.giveUp(at, why.outcome)
	if s.transport != nil {
		s.transport.drain(at, why.cause)
	}
	s.setState(at, event.StateShutdown, nil)
	e := s.endpoint
	e.subchannels = slices.DeleteFunc(e.subchannels, func(other *Subchannel) bool { return other == s })
	p := e.policy
	switch {
	case p.closed:
	case p.own == nil:
		e.end(at, why)
		p.endpoints.remove(e)
	case p.state == event.StateTransientFailure:
		e.abandonIfEmpty(at)
	}
}
