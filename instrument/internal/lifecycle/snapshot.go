package lifecycle

import (
	"cmp"
	"slices"
	"time"

	"github.com/redial-dev/redial/instrument/snapshot"
)

// Snapshot describes what the channel does now.
func (c *Channel) Snapshot() snapshot.Channel {
	s := snapshot.Channel{
		ID: c.id, Target: c.target, State: c.state, Since: c.stateSince, Waiting: len(c.waits),
		Endpoints: []snapshot.Endpoint{},
	}
	if c.resolver != nil {
		s.Resolver = c.resolver.snapshot()
	}
	for _, p := range c.policies {
		for _, e := range p.endpoints {
			s.Endpoints = append(s.Endpoints, e.snapshot())
		}
	}
	slices.SortFunc(s.Endpoints, func(a, b snapshot.Endpoint) int { return cmp.Compare(a.ID, b.ID) })
	return s
}

func (r *Resolver) snapshot() *snapshot.Resolver {
	if !r.answered() {
		since := r.start
		return &snapshot.Resolver{Since: &since}
	}
	last := r.last
	s := &snapshot.Resolver{Answered: &last.at, Addresses: last.addresses}
	if f := last.failed; f != nil {
		s.Error, s.ErrorType = r.ch.texts.Text(f.err.Error()), f.class
	}
	return s
}

func (e *endpoint) snapshot() snapshot.Endpoint {
	s := snapshot.Endpoint{ID: e.id, State: e.policy.state, Lost: e.lastLoss, Subchannels: []snapshot.Subchannel{}}
	if f := e.failed; f != nil {
		s.Error, s.ErrorType = e.policy.ch.texts.Text(f.err.Error()), f.class
	}
	if p := e.episode; p != nil {
		s.Episode = &snapshot.Episode{Trigger: p.trigger, Since: p.start, Attempts: p.attempts, Waited: p.rpcsWaited}
	}
	if e.up != nil {
		s.Stalled = e.up.stalledNow()
	}
	for _, sub := range e.subchannels {
		if e.policy.own == nil {
			s.State = sub.state
		}
		s.Subchannels = append(s.Subchannels, sub.snapshot())
	}
	return s
}

func (s *Subchannel) snapshot() snapshot.Subchannel {
	texts := s.ch().texts
	have := snapshot.Subchannel{ID: s.id, State: s.state, Since: s.stateSince}
	to := s.Address
	if a := s.attempt; a != nil {
		have.Attempt, to = a.number, a.to
	}
	if !s.backoff.start.IsZero() {
		next := s.backoff.start.Add(s.ch().cfg.Backoff(int(s.failures)))
		have.NextAttempt = &next
	}
	if t := s.transport; t != nil && t.id != 0 {
		have.Local, have.Remote = texts.Address(t.conn.Local), texts.Address(t.conn.Remote)
		have.InFlight, have.RPCs, have.Stalled = t.inFlight(), t.sent(), t.stalledNow()
		to = t.Address
	}
	have.Address, have.Proxy = texts.Address(to.Server), texts.Address(to.Proxy)
	return have
}

// stalledNow returns since when nothing is acknowledged, or nil.
func (t *Transport) stalledNow() *time.Time {
	since := t.stalledSince()
	if since.IsZero() || t.state != ready {
		return nil
	}
	return &since
}
