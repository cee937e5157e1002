package lifecycle

import (
	"slices"
	"time"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
	"github.com/redial-dev/redial/instrument/snapshot"
)

// Policy is one instance of a load balancing policy that makes subchannels.
type Policy struct {
	ch    *Channel
	state event.State
	// own is pick_first's only endpoint; nil for policies in which each subchannel is an endpoint of its own.
	own       *endpoint
	endpoints smallSet[*endpoint]
	closed    bool
}

// OpenPickFirst tells that a pick_first was made: all its subchannels are ways to one endpoint.
func (c *Channel) OpenPickFirst() *Policy {
	p := c.OpenPolicy()
	p.own = p.newEndpoint()
	return p
}

// OpenPolicy tells that a policy was made in which each subchannel is an endpoint.
func (c *Channel) OpenPolicy() *Policy {
	p := &Policy{ch: c, state: event.StateIdle}
	c.policies.add(p)
	return p
}

// SetState tells the state that the policy reports. CONNECTING begins pick_first's episode, unless it is READY: below
// policies that check its health pick_first says CONNECTING until the first check has passed.
func (p *Policy) SetState(at time.Time, s event.State) {
	if p.closed {
		return
	}
	p.state = s
	switch {
	case p.own == nil:
	case s == event.StateConnecting && p.own.up == nil && !p.ch.over():
		p.own.connect(at)
	case s == event.StateTransientFailure:
		p.own.abandonIfEmpty(at)
	}
}

// SetAddresses tells which addresses pick_first is given now. It shuts down its subchannels to others, whose news may still
// be on its way.
func (p *Policy) SetAddresses(addresses []string) {
	if p.own == nil {
		return
	}
	for _, s := range p.own.subchannels {
		s.obsolete = s.obsolete || !slices.Contains(addresses, s.address)
	}
}

// Close tells that the policy is no more, and why. What it leaves open ends now, since its subchannels may never
// say SHUTDOWN.
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
			cause = p.ch.removalCause(s.address)
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

// episode returns the one that an RPC waits for which the policy cannot place.
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
		if e.err != nil && (last == nil || e.failedAt.After(last.failedAt)) {
			last = e
		}
	}
	return last
}

// endpoint is what a person calls "the connection": it connects, is READY, is lost and connects again.
type endpoint struct {
	policy      *Policy
	id          event.ID
	subchannels []*Subchannel
	// woken: the endpoint was made when its channel left idleness.
	woken   bool
	episode *episode
	// up is the transport that serves RPCs now, and lost the one whose loss was not followed by an episode yet.
	up   *Transport
	lost event.ID
	// err is the failure that keeps the endpoint from being READY.
	err      error
	failedAt time.Time
	lastLoss *snapshot.Loss // Of a transport whose record is complete.
}

// episode is the time that an endpoint takes to become READY. It is told in chapters, if it is long.
type episode struct {
	id         event.ID // Of the chapter.
	trigger    event.Trigger
	start      time.Time
	chapter    time.Time // When the chapter began.
	attempts   int
	backoff    time.Duration
	rpcsWaited int
}

func (e *endpoint) head(at time.Time) event.Header {
	h := e.policy.ch.head(at)
	h.Endpoint = e.id
	return h
}

// connect begins an episode unless one is open.
func (e *endpoint) connect(at time.Time) {
	if e.episode != nil {
		return
	}
	if e.up != nil { // The news of its end is on its way: pick_first drops an address and tries the next at once.
		e.lost, e.up = e.up.id, nil
	}
	ch := e.policy.ch
	head := e.head(at)
	e.episode = &episode{id: ch.cfg.NextID(), trigger: event.TriggerFirst, start: head.Time, chapter: head.Time}
	switch {
	case e.lost != 0:
		e.episode.trigger = event.TriggerRedial
	case e.woken:
		e.episode.trigger = event.TriggerWake
	}
	ch.emit(event.ConnectStarted{Header: head, Episode: e.episode.id, Trigger: e.episode.trigger, Lost: e.lost})
	e.lost = 0
	for w := range ch.waits {
		if w.policy == e.policy && w.episode == 0 {
			w.join(e.episode)
		}
	}
}

// longChapter is how long a chapter lasts until the next attempt begins another: a dead backend shows up within minutes.
const longChapter = 5 * time.Minute

// rollOver begins the next chapter of an episode whose chapter has become long. What is open stays in its chapter.
func (e *endpoint) rollOver(at time.Time) {
	p, ch := e.episode, e.policy.ch
	head := e.head(at)
	if head.Time.Sub(p.chapter) < longChapter {
		return
	}
	e.reportEnd(p, head, event.OutcomeContinued)
	previous := p.id
	p.id, p.chapter = ch.cfg.NextID(), head.Time
	ch.emit(event.ConnectStarted{Header: head, Episode: p.id, Trigger: event.TriggerContinued, Previous: previous})
}

// ready ends the episode well. The other ways to the endpoint are given up, as pick_first does.
func (e *endpoint) ready(at time.Time, winner *Subchannel, t *Transport) {
	e.err, e.up, e.woken = nil, t, false
	for _, s := range e.subchannels {
		if s != winner {
			s.giveUp(at, event.OutcomeCancelled)
		}
	}
	e.endEpisode(at, event.OutcomeReady)
}

func (e *endpoint) endEpisode(at time.Time, o event.Outcome) {
	p := e.episode
	if p == nil {
		return
	}
	e.episode = nil
	e.reportEnd(p, e.head(at), o)
}

func (e *endpoint) reportEnd(p *episode, head event.Header, o event.Outcome) {
	ended := event.ConnectEnded{
		Header: head, Episode: p.id, Trigger: p.trigger, Outcome: o, Start: p.start,
		Attempts: p.attempts, Backoff: p.backoff, RPCsWaited: p.rpcsWaited,
	}
	if o != event.OutcomeReady {
		ended.Err, ended.ErrorType = e.err, failure.Type(e.err)
	}
	e.policy.ch.emit(ended)
}

// abandonIfEmpty gives the episode up if there is no address left to connect to.
func (e *endpoint) abandonIfEmpty(at time.Time) {
	if len(e.subchannels) == 0 {
		e.endEpisode(at, event.OutcomeAbandoned)
	}
}

func (e *endpoint) end(at time.Time, why ending) {
	for len(e.subchannels) > 0 {
		e.subchannels[0].close(at, why)
	}
	e.endEpisode(at, why.outcome)
}
