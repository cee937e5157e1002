package lifecycle

import (
	"time"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/sample"
)

// Count adds what the channel has now to the counts of its target. It reports a name resolution that goes on for long.
func (c *Channel) Count(at time.Time, to *sample.Counts) {
	at = c.advance(at)
	if c.state != "" && c.state != event.StateShutdown {
		to.Channels[c.state]++
	}
	for w := range c.waits {
		to.Waiting[w.reason]++
	}
	if c.resolving() {
		to.ResolveAge = max(to.ResolveAge, at.Sub(c.resolver.start))
		c.resolver.rollOver(at)
	}
	for _, p := range c.policies {
		for _, e := range p.endpoints {
			e.count(at, to)
		}
	}
}

func (e *endpoint) count(at time.Time, to *sample.Counts) {
	if e.episode != nil {
		to.Disconnected[e.errType]++
		to.ConnectAge = max(to.ConnectAge, at.Sub(e.episode.start))
	}
	for _, s := range e.subchannels {
		to.Subchannels[s.state]++
		if t := s.transport; t != nil && t.state == ready && t.notAfter != 0 {
			to.SeeExpiry(time.Unix(t.notAfter, 0))
		}
	}
}
