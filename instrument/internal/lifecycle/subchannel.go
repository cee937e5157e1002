package lifecycle

import (
	"slices"
	"time"

	"github.com/redial-dev/redial/instrument/event"
)

// role is what a subchannel may do, beside its connectivity state:
//
//	          a sibling connected
//	candidate ──────────────────► outrun ──────┐
//	    │     ◄────────────────── (not READY)  │
//	    └──────────────────────────────────────┴──► removed
//	orphan
type role uint8

const (
	// candidate may connect and become the endpoint's transport.
	candidate role = iota
	// outrun: a sibling connected first. What the subchannel still does before it is shut down is no attempt, while that
	// sibling is up.
	outrun
	// removed: its address was taken away. It is not used even if it becomes READY before it is shut down.
	removed
	// orphan: it was made by a policy that is closed, and is not reported.
	orphan
)

// Subchannel is one gRPC subchannel (a balancer.SubConn).
type Subchannel struct {
	endpoint *endpoint
	id       int64
	// Address is the first that its policy gave it.
	*Address
	state event.State
	// stateSince is when the state was reported.
	stateSince time.Time
	// reportedAt is the time of the newest event of the subchannel, before which no attempt can have begun.
	reportedAt time.Time
	// attempt is the one that goes on, or nil; then backoff may be.
	attempt *attempt
	backoff backoff
	// failures counts the backoff waits since the subchannel was last READY or reset, as gRPC's own index does.
	failures int32
	role     role
	several  bool // It has more than one address.
	// transport is the one that is connected, READY or not.
	transport *Transport
}

// Address is one of a subchannel's. What has it shares it, since it never changes.
type Address struct {
	// Server is what the resolver gave.
	Server string
	// Proxy is the address of the HTTP CONNECT proxy that leads to the server, or empty.
	Proxy string
}

// nowhere is the address that is not known.
var nowhere = &Address{}

// Add adds a subchannel that the policy made, with its addresses.
func (p *Policy) Add(at time.Time, id int64, addresses ...Address) *Subchannel {
	e := p.own
	if e == nil {
		e = p.newEndpoint()
	}
	s := &Subchannel{endpoint: e, id: id}
	s.SetAddresses(addresses...)
	if p.closed {
		s.role = orphan
		return s
	}
	e.subchannels = append(e.subchannels, s)
	s.setState(at, event.StateIdle, nil)
	return s
}

// SetAddresses reports the addresses that the policy gave the subchannel, one at least.
func (s *Subchannel) SetAddresses(addresses ...Address) {
	s.Address, s.several = &addresses[0], len(addresses) > 1
}

// SetState reports the connectivity state that gRPC delivered to the subchannel's listener, with the error of a
// TRANSIENT_FAILURE.
func (s *Subchannel) SetState(at time.Time, to event.State, err error) {
	if to == event.StateShutdown {
		s.close(at, endingOf(s.endpoint.policy.droppedCause(s.Server)))
		return
	}
	if s.role == orphan || s.state == event.StateShutdown {
		return
	}
	s.ch().updateOver = true
	if s.role == outrun && s.endpoint.up == nil {
		s.role = candidate
	}
	if to == event.StateIdle {
		s.idle(at)
	}
	s.setState(at, to, err)
	if s.role != candidate {
		return
	}
	switch to {
	case event.StateConnecting:
		if !s.connected() {
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
	changed := event.SubchannelState{Header: s.header(at), From: s.state, To: to}
	if to == event.StateTransientFailure { // gRPC repeats the error with the state that follows.
		changed.Err = err
	}
	s.state, s.stateSince = to, changed.Time
	s.emit(changed)
}

// ready ends the attempt well: the server's SETTINGS arrived.
func (s *Subchannel) ready(at time.Time) {
	t := s.transport
	if t == nil { // The connection came without a ConnBegin that could be found to be this subchannel's.
		t = &Transport{ch: s.ch(), sub: s, state: closed, Address: nowhere}
		s.transport = t
		if !s.several {
			t.Address = s.Address
		}
	}
	if a := s.attempt; a != nil {
		t.Address, t.conn, t.notAfter = a.to, a.conn, a.notAfter
	}
	s.endAttempt(at, event.OutcomeReady, nil)
	s.failures = 0
	if t.id == 0 {
		t.ready(at)
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
		// gRPC goes from CONNECTING to IDLE when a connection was lost before gRPC could report READY.
		s.ready(at)
	}
	if s.transport != nil {
		s.transport.drain(at, "")
	}
}

func (s *Subchannel) fail(at time.Time, err error) {
	if s.connected() { // The health check failed: nothing redials.
		s.endpoint.fail(at, err)
		s.endAttempt(at, event.OutcomeFailed, err)
		return
	}
	if s.transport != nil {
		s.transport.drain(at, "")
	}
	s.endpoint.fail(at, err)
	if s.connect(at) == nil {
		return
	}
	s.endAttempt(at, event.OutcomeFailed, err)
	s.beginBackoff(at)
}

// stop ends what the subchannel does to connect.
func (s *Subchannel) stop(at time.Time, o event.Outcome) {
	s.endAttempt(at, o, nil)
	s.endBackoffAs(at, event.OutcomeShutdown)
	if s.role == candidate {
		s.role = outrun
	}
}

func (s *Subchannel) close(at time.Time, why ending) {
	if s.state == event.StateShutdown || s.role == orphan {
		return
	}
	s.stop(at, why.outcome)
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

// connected reports whether the subchannel has an open connection, READY or not.
func (s *Subchannel) connected() bool { return s.transport != nil && s.transport.open() }

func (s *Subchannel) ch() *Channel { return s.endpoint.policy.ch }

func (s *Subchannel) emit(e event.Event) {
	s.reportedAt = e.EventHeader().Time
	s.ch().emit(e)
}

func (s *Subchannel) header(at time.Time) event.Header {
	h := s.endpoint.header(at)
	h.Subchannel = s.id
	return h
}
