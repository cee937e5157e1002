package lifecycle

import (
	"time"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/sample"
)

// Count adds what the channel has now to the counts of its target. With interval an interval of [sample.Spread] ends,
// and the next begins.
func (c *Channel) Count(at time.Time, interval bool, to *sample.Counts) {
	at = c.advance(at)
	to.RPCs += c.RPCs()
	if c.state != "" && c.state != event.StateShutdown {
		to.Channels[c.state]++
	}
	for w := range c.waits {
		to.Waiting[w.reason]++
	}
	if c.resolving() {
		to.ResolveAge = max(to.ResolveAge, at.Sub(c.resolver.start))
	}
	for _, p := range c.policies {
		for _, e := range p.endpoints {
			e.count(at, interval, to)
		}
	}
}

// RPCs returns how many RPCs were sent over the channel's transports.
func (c *Channel) RPCs() int64 {
	sent := c.sent
	for _, t := range c.leaving {
		sent += t.sent()
	}
	for _, p := range c.policies {
		for _, e := range p.endpoints {
			for _, s := range e.subchannels {
				if s.transport != nil {
					sent += s.transport.sent()
				}
			}
		}
	}
	return sent
}

func (e *endpoint) count(at time.Time, interval bool, to *sample.Counts) {
	if e.episode != nil {
		to.Disconnected[e.failureClass()]++
		to.ConnectAge = max(to.ConnectAge, at.Sub(e.episode.start))
	}
	if e.unhealthy() {
		to.Unhealthy[e.failureClass()]++
	}
	for _, s := range e.subchannels {
		to.Subchannels[s.state]++
		if t := s.transport; t != nil && t.state == ready {
			t.count(interval, to)
		}
	}
}

// count adds a READY transport.
func (t *Transport) count(interval bool, to *sample.Counts) {
	if t.notAfter != 0 {
		to.SeeExpiry(time.Unix(t.notAfter, 0))
	}
	if !t.stalledSince().IsZero() {
		to.Stalled++
	}
	if !interval {
		return
	}
	sent := t.sent()
	if t.spans {
		to.Spread.See(sent - t.sentBefore)
	}
	t.sentBefore, t.spans = sent, true
}
