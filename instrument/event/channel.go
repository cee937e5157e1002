package event

import (
	"fmt"
	"time"
)

// State is a connectivity state, of a channel or of a subchannel.
type State string

// The connectivity states of gRPC.
const (
	// StateIdle has no connection and wants none.
	StateIdle State = "idle"
	// StateConnecting resolves a name or opens a connection.
	StateConnecting State = "connecting"
	// StateReady can send RPCs.
	StateReady State = "ready"
	// StateTransientFailure has failed to connect, and will try again.
	StateTransientFailure State = "transient_failure"
	// StateShutdown is closed for good.
	StateShutdown State = "shutdown"
)

// ChannelState reports that a channel changed its state. From is empty for the first state that is seen of it.
type ChannelState struct {
	Header
	From, To State
}

// Kind implements [Event].
func (ChannelState) Kind() Kind { return KindState }

// Name implements [Event].
func (ChannelState) Name() string { return "channel.state" }

func (e ChannelState) String() string {
	return fmt.Sprintf("channel %d: %s", e.Channel, change(e.From, e.To))
}

// SubchannelState reports that a subchannel changed its state, as gRPC reported it to its load balancing policy. From
// is empty where the subchannel was just created.
type SubchannelState struct {
	Header
	From, To State
	// Err is the failure that led to StateTransientFailure, and nil for other states.
	Err error
}

// Kind implements [Event].
func (SubchannelState) Kind() Kind { return KindState }

// Name implements [Event].
func (SubchannelState) Name() string { return "subchannel.state" }

func (e SubchannelState) String() string {
	return fmt.Sprintf("subchannel %d: %s%s", e.Subchannel, change(e.From, e.To), because(e.Err))
}

// Resolved reports that a name resolver answered, or that its first answer is still outstanding after minutes: the
// outcome is OutcomeContinued then.
type Resolved struct {
	Header
	// Start is when the lookup began, or equal to Time where that is not known: the resolver sent an update unasked, or
	// tried again by itself. Where the resolution goes on it is when that was last reported.
	Start time.Time
	// Addresses counts the addresses of the answer.
	Addresses int
	Outcome   Outcome
	// Err is why the resolution failed, or nil, and ErrorType its class.
	Err       error
	ErrorType string
}

// Kind implements [Event].
func (Resolved) Kind() Kind { return KindResolve }

// Name implements [Event].
func (Resolved) Name() string { return "resolve.ended" }

func (e Resolved) String() string {
	if e.Outcome == OutcomeReady {
		return fmt.Sprintf("channel %d: resolved %s%s",
			e.Channel, count(e.Addresses, "address", "addresses"), e.took(" in "))
	}
	return fmt.Sprintf("channel %d: name resolution %s%s%s", e.Channel, e.Outcome, e.took(" after "), because(e.Err))
}

// Measured reports whether it is known when the lookup began.
func (e Resolved) Measured() bool { return e.Start.Before(e.Time) }

// took returns how long the lookup took, after a word, or nothing if that is not known.
func (e Resolved) took(word string) string {
	if !e.Measured() {
		return ""
	}
	return word + e.Time.Sub(e.Start).String()
}
