package event

import (
	"fmt"
	"time"
)

// State is a connectivity state, of a channel or of a subchannel.
type State string

// The connectivity states of gRPC.
const (
	Idle             State = "idle"
	Connecting       State = "connecting"
	Ready            State = "ready"
	TransientFailure State = "transient_failure"
	Shutdown         State = "shutdown"
)

// ChannelState tells that a channel changed its state. From is empty for the first state that is seen of it.
type ChannelState struct {
	Head
	From, To State
}

// Kind implements [Event].
func (ChannelState) Kind() Kind { return KindState }

func (e ChannelState) String() string {
	return fmt.Sprintf("channel %d: %s -> %s", e.Channel, e.From, e.To)
}

// SubchannelState tells that a subchannel changed its state, as its load balancing policy was told. From is empty
// where the subchannel was just created.
type SubchannelState struct {
	Head
	From, To State
	Err      error
}

// Kind implements [Event].
func (SubchannelState) Kind() Kind { return KindState }

func (e SubchannelState) String() string {
	return fmt.Sprintf("subchannel %d: %s -> %s%s", e.Subchannel, e.From, e.To, because(e.Err))
}

// Resolved tells that a name resolver answered.
type Resolved struct {
	Head
	// Start is when the resolver was asked; equal to Time for an update of its own accord.
	Start time.Time
	// Addresses counts the addresses of the answer.
	Addresses int
	Outcome   Outcome
	Err       error
	ErrorType string
}

// Kind implements [Event].
func (Resolved) Kind() Kind { return KindResolve }

func (e Resolved) String() string {
	return fmt.Sprintf("channel %d: resolved %d addresses in %v%s", e.Channel, e.Addresses, e.Time.Sub(e.Start), because(e.Err))
}
