package lifecycle

import (
	"errors"
	"time"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
)

// errNextAddress is the failure of a phase whose end nothing reported: gRPC went on to the next address.
var errNextAddress = errors.New("given up for the next address")

// attempt is one pass through the addresses of a subchannel.
type attempt struct {
	id      event.ID
	episode event.ID // The chapter in which it began.
	number  int
	start   time.Time
	chapter time.Time // When its chapter began.
	to      *Address  // Where gRPC connects to now; zero if it is not known to which of several.
	// phase is the one that goes on, if open, or ended last.
	phase        event.Phase
	open         bool
	phaseStart   time.Time
	dialAttempts []event.DialAttempt
	conn         event.Conn
	notAfter     int64     // When the server's certificate expires, in Unix time, or zero.
	deadline     time.Time // When gRPC gives the connection up, or zero where that is not known.
	err          error
}

// connect begins an attempt unless one is open or the subchannel has no use for one.
func (s *Subchannel) connect(at time.Time) *attempt {
	return s.connectSince(at, at)
}

// connectDialed is connect where gRPC reports CONNECTING late: the dial is over already. It began at the earliest
// when its policy wanted to connect and all that was reported of the subchannel before was over.
func (s *Subchannel) connectDialed(at time.Time) *attempt {
	return s.connectSince(at, time.Time{})
}

func (s *Subchannel) connectSince(at, since time.Time) *attempt {
	if s.attempt != nil || s.role != candidate || s.ch().over() {
		return s.attempt
	}
	if s.transport != nil { // gRPC dials before it reports that the old transport is lost.
		s.transport.drain(at, "")
	}
	s.endBackoff(at)
	s.endpoint.connect(at)
	s.endpoint.rollOver(at)
	episode := s.endpoint.episode
	episode.attempts++
	header := s.header(at)
	if since = latest(since, latest(episode.chapter, s.reportedAt)); since.Before(header.Time) {
		header.Time = since
	}
	s.attempt = &attempt{
		id: s.ch().cfg.NextID(), episode: episode.id, number: episode.attempts, start: header.Time,
		chapter: header.Time, to: s.Address,
	}
	s.reportStart(header, 0)
	s.attempt.begin(event.PhaseDial, header.Time)
	return s.attempt
}

func (s *Subchannel) reportStart(header event.Header, previous event.ID) {
	a := s.attempt
	started := event.AttemptStarted{
		Header: header, Episode: a.episode, Attempt: a.id, Number: a.number, Previous: previous,
	}
	if !s.several {
		started.Address, started.Proxy = s.Server, s.Proxy
	}
	s.emit(started)
}

func (a *attempt) begin(p event.Phase, at time.Time) {
	a.phase, a.open, a.phaseStart, a.err = p, true, at, nil
	if p == event.PhaseDial {
		a.dialAttempts = nil
	}
}

// DialStart reports that the dialer is called.
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

// DialAttempt reports that the dialer tries an address.
func (s *Subchannel) DialAttempt(at time.Time, address string) {
	if a := s.attempt; a != nil {
		a.dialAttempts = append(a.dialAttempts, event.DialAttempt{At: s.ch().advance(at), Address: address})
	}
}

// ConnectsTo reports to which of the subchannel's addresses gRPC connects now, where there are several; zero if that is
// not known.
func (s *Subchannel) ConnectsTo(address Address) {
	if a := s.attempt; a != nil && s.several {
		a.to = &address
	}
}

// DialProxied reports that the dialer goes through a proxy.
func (s *Subchannel) DialProxied(proxy string) {
	if a := s.attempt; a != nil {
		a.to = &Address{Server: a.to.Server, Proxy: proxy}
	}
}

// DialEnd reports what the dialer returned.
func (s *Subchannel) DialEnd(at time.Time, conn event.Conn, err error) {
	if a := s.attempt; a != nil && a.open && a.phase == event.PhaseDial {
		a.conn = conn
		s.endPhase(at, nil, err)
	}
}

// HandshakeStart reports that the credentials' handshake begins on a connection, which gRPC gives up at the deadline,
// or at an unknown time where that is zero.
func (s *Subchannel) HandshakeStart(at time.Time, conn event.Conn, deadline time.Time) {
	a := s.connectDialed(at)
	if a == nil {
		return
	}
	a.conn, a.notAfter, a.deadline = conn, 0, deadline
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

// HandshakeEnd reports how the handshake ended; tls is nil where it was not one of TLS.
func (s *Subchannel) HandshakeEnd(at time.Time, tls *event.TLS, err error) {
	if a := s.attempt; a != nil && a.phase == event.PhaseHandshake {
		if tls != nil && !tls.ServerNotAfter.IsZero() {
			a.notAfter = tls.ServerNotAfter.Unix()
		}
		s.endPhase(at, tls, err)
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
		Header: s.header(at), Attempt: a.id, Phase: a.phase, Start: a.phaseStart, Conn: a.conn, TLS: tls,
		Err: err, ErrorType: s.attemptFailure(err),
	}
	if a.phase == event.PhaseDial {
		ended.DialAttempts = a.dialAttempts
	}
	s.emit(ended)
}

// errAttempt are the failures of the phases that were open when an attempt was given up.
var errAttempt = map[event.Outcome]error{
	event.OutcomeCancelled:     failure.NewCancelled("another address was faster"),
	event.OutcomeAbandoned:     failure.NewCancelled("subchannel removed"),
	event.OutcomeChannelClosed: failure.NewCancelled("channel closed"),
	event.OutcomeInterrupted:   failure.NewCancelled("redial was shut down"),
}

func (s *Subchannel) endAttempt(at time.Time, o event.Outcome, err error) {
	a := s.attempt
	if a == nil {
		return
	}
	ended := a.ended(o)
	cause := err
	if o != event.OutcomeReady && err == nil {
		cause = errAttempt[o]
	}
	unhealthy := o == event.OutcomeFailed && s.connected()
	if unhealthy {
		s.endPhase(at, nil, nil)
	} else {
		s.endPhase(at, nil, cause)
	}
	ended.Header = s.header(at)
	if o == event.OutcomeFailed {
		ended.Err = err
		if unhealthy {
			ended.ErrorType = failure.Type(err)
		} else {
			s.blame(&ended)
		}
		if f := s.endpoint.failed; f != nil {
			f.class = ended.ErrorType
		}
	}
	ended.Address, ended.Proxy = a.to.Server, a.to.Proxy
	s.attempt = nil
	s.emit(ended)
}

func (a *attempt) ended(o event.Outcome) event.AttemptEnded {
	return event.AttemptEnded{
		Episode: a.episode, Attempt: a.id, Number: a.number, Conn: a.conn, Start: a.start, Outcome: o,
	}
}

// blame says what failed of an attempt: the phase that began last. Where there are several addresses, all failed, and
// gRPC reports the error of the first.
func (s *Subchannel) blame(ended *event.AttemptEnded) {
	a, err := s.attempt, ended.Err
	switch {
	case s.several:
		if *a.to != *s.Address {
			a.to, ended.Conn = s.Address, event.Conn{}
		}
		a.phase = failure.Phase(err)
	case a.err != nil:
		err = a.err
	}
	ended.Phase, ended.ErrorType = a.phase, s.attemptFailure(err)
}

// attemptFailure returns the class of the failure of the phase that began last.
func (s *Subchannel) attemptFailure(err error) string {
	a, class := s.attempt, failure.Type(err)
	switch {
	case a.phase == event.PhaseDial && a.to.Proxy != "":
		return failure.OfProxy(class)
	case failure.ClosedEarly(err, s.ch().now, a.deadline):
		return failure.Other
	}
	return class
}
