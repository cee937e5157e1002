// Package census counts what there is now.
package census

import "github.com/redial-dev/redial/instrument/event"

// Census is the count of each target.
type Census map[string]*Count

// Of returns the count of a target, which it makes if there is none.
func (c Census) Of(target string) *Count {
	have, ok := c[target]
	if !ok {
		have = &Count{Channels: map[event.State]int64{}, Subchannels: map[event.State]int64{}}
		c[target] = have
	}
	return have
}

// Count is what a target has.
type Count struct {
	Channels, Subchannels map[event.State]int64
	// Waiting counts the RPCs that wait for a transport.
	Waiting int64
}
