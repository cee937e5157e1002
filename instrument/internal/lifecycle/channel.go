// Package lifecycle is the state machine that turns what grpc-go's hooks report into events. It is pure: it has no
// goroutine, no clock, no lock and no knowledge of gRPC or OpenTelemetry. Its inputs are method calls that carry
// their own time, its outputs go to one function.
//
// One [Channel] holds the [Policy] instances of a ClientConn (pick_first, as a rule), these hold endpoints, these
// hold a [Subchannel] for each address, and a subchannel has at most one live [Transport]:
//
//	endpoint     idle ──► episode ──────────────────────────► ready ──► lost ──► episode (redial) ...
//	                        │                                   ▲
//	subchannel              └► attempt ──► failed ──► backoff   │
//	                            ▲                        │      │
//	                            └────────────────────────┘      │
//	attempt                 dial ──► handshake ──► settings ────┘
//	transport                                   up ──► ready ──► down ──► gone, its RPCs done: ended
//
// A Channel and all that belongs to it must be used by one goroutine at a time.
package lifecycle

import (
	"slices"
	"time"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/sample"
)

// Config is what [Channel]s share.
type Config struct {
	// NextID returns an id that is unique in the process.
	NextID func() event.ID
	// Emit takes the events, in order.
	Emit func(event.Event)
	// Backoff returns the shortest time that gRPC waits after so many failures in a row (from 0) where nothing
	// cuts the wait.
	Backoff func(failures int) time.Duration
}

// Channel is the machine of one ClientConn.
type Channel struct {
	cfg    *Config
	target string
	id     int64
	// now is the latest time seen: inputs of different goroutines may arrive a little out of order, outputs not.
	now        time.Time
	state      event.State
	stateSince time.Time
	policies   smallSet[*Policy]
	leaving    smallSet[*Transport] // Those that are lost and whose record has not ended.
	waits      map[*Wait]struct{}
	addresses  []string // Of the resolver's last answer; nil if there was none.
	// idled tells that the channel went idle and was not READY since: who connects now wakes it.
	idled  bool
	closed bool
}

// NewChannel returns the machine of a channel in no state yet, with the target that is told of it.
func NewChannel(cfg *Config, target string) *Channel {
	return &Channel{cfg: cfg, target: target}
}

// Identify tells the channel's channelz id once it is known.
func (c *Channel) Identify(id int64) { c.id = id }

// Target returns the target that is told.
func (c *Channel) Target() string { return c.target }

// Count adds the channel to what its target has.
func (c *Channel) Count(to *sample.Counts) {
	if c.state != "" && c.state != event.StateShutdown {
		to.Channels[c.state]++
	}
	for _, p := range c.policies {
		for _, e := range p.endpoints {
			for _, s := range e.subchannels {
				to.Subchannels[s.state]++
			}
		}
	}
	to.Waiting += int64(len(c.waits))
}

// SetState tells the channel's own state, which is that of its topmost policy or of idleness.
func (c *Channel) SetState(at time.Time, s event.State) {
	if c.state == s || c.state == event.StateShutdown {
		return
	}
	head := c.head(at)
	from := c.state
	c.state, c.stateSince = s, head.Time
	if s == event.StateReady {
		c.idled = false
	}
	c.emit(event.ChannelState{Header: head, From: from, To: s})
}

// Done reports whether nothing is open any more, so that the machine may be forgotten once its channel is closed.
func (c *Channel) Done() bool {
	return len(c.policies) == 0 && len(c.leaving) == 0 && len(c.waits) == 0
}

// over reports whether nothing begins any more: on its way down a channel still goes through the motions.
func (c *Channel) over() bool { return c.closed || c.state == event.StateShutdown }

// Interrupt ends all that is open, as interrupted. The machine ignores every later input.
func (c *Channel) Interrupt(at time.Time) {
	if c.closed {
		return
	}
	for w := range c.waits {
		w.End(at, event.OutcomeInterrupted, nil)
	}
	for _, p := range slices.Clone(c.policies) {
		p.end(at, ending{event.CauseUnknown, event.OutcomeInterrupted})
	}
	for _, t := range slices.Clone(c.leaving) {
		t.end(at, event.OutcomeInterrupted)
	}
	c.SetState(at, event.StateShutdown)
	c.closed = true
}

// emit hands an event out.
func (c *Channel) emit(e event.Event) {
	if !c.closed {
		c.cfg.Emit(e)
	}
}

// advance moves the channel's time on and returns it.
func (c *Channel) advance(at time.Time) time.Time {
	if at.After(c.now) {
		c.now = at
	}
	return c.now
}

func (c *Channel) head(at time.Time) event.Header {
	return event.Header{Time: c.advance(at), Target: c.target, Channel: c.id}
}

// ending says why something is taken down from this side, and what becomes of the connecting that goes on in it.
type ending struct {
	cause   event.Cause
	outcome event.Outcome
}

func endingOf(cause event.Cause) ending {
	if cause == event.CauseChannelClosed {
		return ending{cause, event.OutcomeChannelClosed}
	}
	return ending{cause, event.OutcomeAbandoned}
}
