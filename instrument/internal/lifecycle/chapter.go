package lifecycle

import (
	"time"

	"github.com/redial-dev/redial/instrument/event"
)

// chapterLength is how long a chapter lasts until another begins, with the next attempt or roll-over: the trace of a
// chapter is exported when it ends, so that a dead backend, or an attempt or a name resolution that hangs, shows up
// within minutes.
const chapterLength = 5 * time.Minute

// RollOver begins the next chapter of what goes on for long, and reports whether anything goes on that may.
func (c *Channel) RollOver(at time.Time) (pending bool) {
	if c.over() {
		return false
	}
	if c.resolving() {
		pending = true
		c.resolver.rollOver(at)
	}
	for _, p := range c.policies {
		for _, e := range p.endpoints {
			if e.episode != nil {
				pending = true
				e.rollOverAll(at)
			}
		}
	}
	return pending
}

// rollOverAll is rollOver with the attempts that go on for long: they go on in the next chapter.
func (e *endpoint) rollOverAll(at time.Time) {
	var long []*Subchannel
	for _, s := range e.subchannels {
		if a := s.attempt; a != nil && e.policy.ch.advance(at).Sub(a.chapter) >= chapterLength {
			long = append(long, s)
			s.reportContinued(at)
		}
	}
	e.rollOver(at)
	for _, s := range long {
		s.resume(at)
	}
}

// reportContinued ends the chapter of an attempt.
func (s *Subchannel) reportContinued(at time.Time) {
	a := s.attempt
	ended := a.ended(event.OutcomeContinued)
	ended.Header, ended.Phase = s.header(at), a.phase
	ended.Address, ended.Proxy = a.to.Server, a.to.Proxy
	s.emit(ended)
}

// resume begins the next chapter of an attempt.
func (s *Subchannel) resume(at time.Time) {
	a, header := s.attempt, s.header(at)
	previous := a.id
	a.id, a.episode, a.chapter = s.ch().cfg.NextID(), s.endpoint.episode.id, header.Time
	s.reportStart(header, previous)
}

// rollOver begins the next chapter of an episode whose chapter has become long. What is open stays in its chapter.
func (e *endpoint) rollOver(at time.Time) {
	p, ch := e.episode, e.policy.ch
	header := e.header(at)
	if header.Time.Sub(p.chapter) < chapterLength {
		return
	}
	e.reportEnd(p, header, event.OutcomeContinued)
	previous := p.id
	p.id, p.chapter = ch.cfg.NextID(), header.Time
	ch.emit(event.ConnectStarted{Header: header, Episode: p.id, Trigger: event.TriggerContinued, Previous: previous})
}
