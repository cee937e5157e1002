// Package sample holds what is looked at from time to time, in place of being reported as events when it changes: the
// counts of each target at a collection of metrics, and the sockets of transports.
package sample

import "github.com/redial-dev/redial/instrument/event"

// ByTarget holds the counts of each target.
type ByTarget map[string]*Counts

// Of returns the counts of a target, which it makes if there are none.
func (b ByTarget) Of(target string) *Counts {
	have, ok := b[target]
	if !ok {
		have = &Counts{Channels: map[event.State]int64{}, Subchannels: map[event.State]int64{}}
		b[target] = have
	}
	return have
}

// Counts is what a target has at one moment.
type Counts struct {
	Channels, Subchannels map[event.State]int64
	// Waiting counts the RPCs that wait for a transport.
	Waiting int64
}
