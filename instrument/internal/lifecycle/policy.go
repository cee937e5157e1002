package lifecycle

import (
	"time"

	"github.com/redial-dev/redial/instrument/event"
)

// Policy is one instance of a load balancing policy that makes subchannels.
type Policy struct {
	ch    *Channel
	state event.State
	// own is pick_first's only endpoint; nil for policies in which each subchannel is an endpoint of its own.
	own       *endpoint
	endpoints smallSet[*endpoint]
	closed    bool
	// given is the newest update that the policy was given, or nil. It is kept where the resolver's answers are not seen.
	given *given
}

// OpenPickFirst adds a new pick_first: all its subchannels lead to one endpoint.
func (c *Channel) OpenPickFirst() *Policy {
	p := c.OpenPolicy()
	p.own = p.newEndpoint()
	return p
}

// OpenPolicy adds a new policy in which each subchannel is an endpoint.
func (c *Channel) OpenPolicy() *Policy {
	p := &Policy{ch: c, state: event.StateIdle}
	c.policies.add(p)
	return p
}

// SetState reports the policy's state, with the error for which pick_first fails RPCs in TRANSIENT_FAILURE, if it is
// known. CONNECTING begins pick_first's episode, unless it is READY: below policies that check its health pick_first
// reports CONNECTING until the first check has passed.
func (p *Policy) SetState(at time.Time, s event.State, err error) {
	if p.closed {
		return
	}
	p.state = s
	switch {
	case p.own == nil:
	case s == event.StateConnecting && p.own.up == nil && !p.ch.over():
		p.own.connect(at)
	case s == event.StateTransientFailure && p.own.up != nil && err != nil:
		p.own.fail(at, err)
	case s == event.StateTransientFailure:
		p.own.abandonIfEmpty(at)
	case s == event.StateReady:
		p.own.heal(at)
	}
}

// Up reports whether pick_first has a READY transport.
func (p *Policy) Up() bool { return p.own != nil && p.own.up != nil }

// Close reports that the policy was closed, and why. What it leaves open ends now, since gRPC may never report the
// SHUTDOWN of its subchannels.
func (p *Policy) Close(at time.Time, cause event.Cause) {
	if cause == event.CauseIdleTimeout {
		p.ch.idled = true
	}
	p.end(at, endingOf(cause))
}

// CloseRemoved is Close where the policy is dropped while its channel lives on: because the resolver took the
// addresses away, or because another policy replaces it.
func (p *Policy) CloseRemoved(at time.Time) {
	cause := event.CauseLBPolicy
	for _, e := range p.endpoints {
		for _, s := range e.subchannels {
			cause = p.closedCause(s.Server)
		}
	}
	p.Close(at, cause)
}

func (p *Policy) end(at time.Time, why ending) {
	if p.closed {
		return
	}
	p.closed = true
	for _, e := range p.endpoints {
		e.end(at, why)
	}
	p.endpoints = nil
	p.ch.policies.remove(p)
}

func (p *Policy) newEndpoint() *endpoint {
	e := &endpoint{policy: p, id: p.ch.cfg.NextID(), woken: p.ch.idled}
	p.endpoints.add(e)
	return e
}

// episode returns the one for which an RPC waits that the policy cannot place.
func (p *Policy) episode() *episode {
	var oldest *episode
	for _, e := range p.endpoints {
		if e.episode != nil && (oldest == nil || e.episode.id < oldest.id) {
			oldest = e.episode
		}
	}
	return oldest
}

// failed returns the endpoint whose last failure explains why the policy refuses an RPC.
func (p *Policy) failed() (last *endpoint) {
	for _, e := range p.endpoints {
		if e.failed != nil && (last == nil || e.failed.at.After(last.failed.at)) {
			last = e
		}
	}
	return last
}
