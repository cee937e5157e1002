// Package sample holds what is looked at from time to time, in place of being reported as events when it changes: the
// counts of each target at a collection of metrics, and the sockets of transports.
package sample

import (
	"time"

	"github.com/redial-dev/redial/instrument/event"
)

// ByTarget holds the counts of each target.
type ByTarget map[string]*Counts

// Of returns the counts of a target, which it makes if there are none.
func (b ByTarget) Of(target string) *Counts {
	have, ok := b[target]
	if !ok {
		have = &Counts{
			Channels: map[event.State]int64{}, Subchannels: map[event.State]int64{}, Disconnected: map[string]int64{},
			Unhealthy: map[string]int64{}, Waiting: map[event.WaitReason]int64{},
		}
		b[target] = have
	}
	return have
}

// Counts is what a target has at one moment.
type Counts struct {
	Channels, Subchannels map[event.State]int64
	// Waiting counts the RPCs that wait.
	Waiting map[event.WaitReason]int64
	// Disconnected counts the endpoints that connect, by the class of the failure that keeps them from being READY. It is
	// empty before the first failure.
	Disconnected map[string]int64
	// Unhealthy counts the endpoints whose READY transport gets no RPCs, by the class of the reason.
	Unhealthy map[string]int64
	// ConnectAge is the age of the oldest open episode, and ResolveAge that of the oldest name resolution that was not
	// answered; zero if there is none.
	ConnectAge, ResolveAge time.Duration
	// NotAfter is when the first of the server certificates of READY transports expires, or zero if none is known.
	NotAfter time.Time
	// Stalled counts the READY transports whose peer acknowledges nothing.
	Stalled int64
	// RPCs counts those that were ever sent over transports.
	RPCs   int64
	Spread Spread
}

// Spread is how RPCs spread over the subchannels of a target during an interval.
type Spread struct {
	// Subchannels counts those that were READY at the interval's begin and end, with the same transport.
	Subchannels int
	// Busiest and LeastBusy are how many RPCs were sent over one of them, at most and at least.
	Busiest, LeastBusy int64
}

// See adds a subchannel over which so many RPCs were sent.
func (s *Spread) See(rpcs int64) {
	if s.Subchannels == 0 {
		s.LeastBusy = rpcs
	}
	s.Subchannels++
	s.Busiest, s.LeastBusy = max(s.Busiest, rpcs), min(s.LeastBusy, rpcs)
}

// SeeExpiry records the expiry of one READY transport's certificate.
func (c *Counts) SeeExpiry(notAfter time.Time) {
	if c.NotAfter.IsZero() || notAfter.Before(c.NotAfter) {
		c.NotAfter = notAfter
	}
}
