// Package lifecycle is the state machine that turns what grpc-go's hooks report into events. It is pure: it has no
// goroutine, no clock, no lock and no knowledge of gRPC or OpenTelemetry. Its inputs are method calls that carry
// their own time, its outputs go to one function.
//
// One [Channel] holds the [Policy] instances of a ClientConn (pick_first, as a rule), these hold endpoints, these
// hold a [Subchannel] for each address, and a subchannel has at most one [Transport] in use:
//
//	endpoint     idle ──► episode ──────────────────────────► ready ──► lost ──► episode (redial) ...
//	                        │                                   ▲
//	subchannel              └► attempt ──► failed ──► backoff   │
//	                            ▲                        │      │
//	                            └────────────────────────┘      │
//	attempt                 dial ──► handshake ──► settings ────┘
//	transport                        connected ──► ready ──► draining ──► finishing ──► ended
//
// The states of a transport and of a subchannel, and which may follow which, are drawn in transport.go and
// subchannel.go. docs/architecture.md defines the words.
//
// A Channel and all that belongs to it must be used by one goroutine at a time.
package lifecycle

import (
	"slices"
	"time"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/internal/text"
)

// Config is what [Channel]s share.
type Config struct {
	// NextID returns an id that is unique in the process.
	NextID func() event.ID
	// Emit takes the events, in order.
	Emit func(event.Event)
	// Backoff returns the shortest time that gRPC waits after this number of failures in a row (from 0) where nothing
	// cuts the wait.
	Backoff func(failures int) time.Duration
	// BackoffKnown: it is that of the channel, and not a guess. Only then a wait that was shorter can have been reset.
	BackoffKnown bool
	// Fault takes an input that the machine cannot be in the state for. The machine ignores such an input.
	Fault func(error)
}

// Channel is the machine of one ClientConn.
type Channel struct {
	cfg    *Config
	target string
	texts  text.Cleaner
	id     int64
	// now is the latest time seen: inputs of different goroutines may arrive a little out of order, outputs do not.
	now        time.Time
	state      event.State
	stateSince time.Time
	policies   smallSet[*Policy]
	leaving    smallSet[*Transport] // Those that are draining or finishing.
	sent       int64                // RPCs sent over transports that ended.
	waits      map[*Wait]struct{}
	addresses  []string // Of the resolver's last answer that had or lacked some; nil if there was none.
	// resolver is the newest that was asked, or nil.
	resolver *Resolver
	// update is the number of the newest update that a policy was given, and updateOver whether that is over: gRPC
	// delivers the states of subchannels between two updates.
	update     int32
	updateOver bool
	// idled: the channel went idle and was not READY since. An endpoint that connects now wakes it.
	idled bool
	// interrupted: redial was shut down, and every input is ignored.
	interrupted bool
}

// NewChannel returns the machine of a channel in no state yet, whose events have the given target. All other texts in
// them pass through the cleaner.
func NewChannel(cfg *Config, target string, texts text.Cleaner) *Channel {
	return &Channel{cfg: cfg, target: target, texts: texts}
}

// Identify sets the channel's channelz id once it is known.
func (c *Channel) Identify(id int64) { c.id = id }

// Target returns the target that the channel's events have.
func (c *Channel) Target() string { return c.target }

// State returns the channel's own state, or "" while it is not known.
func (c *Channel) State() event.State { return c.state }

// SetState reports the channel's own state, which is that of its topmost policy, or idle.
func (c *Channel) SetState(at time.Time, s event.State) {
	if c.state == s || c.state == event.StateShutdown {
		return
	}
	header := c.header(at)
	from := c.state
	c.state, c.stateSince = s, header.Time
	if s == event.StateReady {
		c.idled = false
	}
	c.emit(event.ChannelState{Header: header, From: from, To: s})
}

// Done reports whether nothing is open any more, so that the machine may be forgotten once its channel is closed.
func (c *Channel) Done() bool {
	return len(c.policies) == 0 && len(c.leaving) == 0 && len(c.waits) == 0
}

// over reports whether nothing begins any more: a channel that shuts down still goes through the motions.
func (c *Channel) over() bool { return c.interrupted || c.state == event.StateShutdown }

// Interrupt ends all that is open, as interrupted. The machine ignores every later input.
func (c *Channel) Interrupt(at time.Time) {
	if c.interrupted {
		return
	}
	for w := range c.waits {
		w.interrupt(at)
	}
	for _, p := range slices.Clone(c.policies) {
		p.end(at, ending{event.CauseUnknown, event.OutcomeInterrupted})
	}
	for _, t := range slices.Clone(c.leaving) {
		t.end(at, event.OutcomeInterrupted)
	}
	c.SetState(at, event.StateShutdown)
	c.interrupted = true
}

func (c *Channel) emit(e event.Event) {
	if !c.interrupted {
		c.cfg.Emit(c.clean(e))
	}
}

// advance moves the channel's time on and returns it.
func (c *Channel) advance(at time.Time) time.Time {
	if at.After(c.now) {
		c.now = at
	}
	return c.now
}

func (c *Channel) header(at time.Time) event.Header {
	return event.Header{Time: c.advance(at), Target: c.target, Channel: c.id}
}

// ending says why something is taken down from this side, and the outcome of the connecting that goes on in it.
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
