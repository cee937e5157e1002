package event

import (
	"fmt"
	"time"
)

// Trigger says why a connection episode began.
type Trigger string

// The triggers.
const (
	// TriggerFirst is the channel's or endpoint's first connection.
	TriggerFirst Trigger = "first"
	// TriggerRedial follows the loss of a connection.
	TriggerRedial Trigger = "redial"
	// TriggerWake follows idleness: an RPC or ClientConn.Connect woke the channel or endpoint.
	TriggerWake Trigger = "wake"
	// TriggerContinued begins a further chapter of the same episode.
	TriggerContinued Trigger = "continued"
)

// ConnectStarted reports that an endpoint began to connect: the start of an episode, or of its next chapter.
type ConnectStarted struct {
	Header
	Episode ID
	Trigger Trigger
	// Lost is the transport whose loss began the episode, or zero.
	Lost ID
	// Previous is the chapter before, where the trigger is TriggerContinued.
	Previous ID
}

// Kind implements [Event].
func (ConnectStarted) Kind() Kind { return KindConnect }

// Name implements [Event].
func (ConnectStarted) Name() string { return "connect.started" }

func (e ConnectStarted) String() string {
	return fmt.Sprintf("endpoint %d: connecting (%s)", e.Endpoint, e.Trigger)
}

// ConnectEnded reports that an endpoint is READY, or that its episode was given up, or that a chapter of it is over:
// the outcome is OutcomeContinued then. The numbers are those of the whole episode so far.
type ConnectEnded struct {
	Header
	Episode ID
	// Trigger is what began the episode, in every chapter.
	Trigger Trigger
	Outcome Outcome
	// Start is when the episode began.
	Start time.Time
	// Attempts counts the attempts of the episode, to any address.
	Attempts int
	// Backoff is the sum of the backoff waits.
	Backoff time.Duration
	// RPCsWaited counts the RPCs that waited for the episode.
	RPCsWaited int
	// Err is the last attempt's failure where the outcome is not ready, and ErrorType its class.
	Err       error
	ErrorType string
}

// Kind implements [Event].
func (ConnectEnded) Kind() Kind { return KindConnect }

// Name implements [Event].
func (ConnectEnded) Name() string { return "connect.ended" }

func (e ConnectEnded) String() string {
	return fmt.Sprintf("endpoint %d: %s after %v, %s, %v of backoff, %s waited%s",
		e.Endpoint, e.Outcome, e.Time.Sub(e.Start), count(e.Attempts, "attempt", "attempts"), e.Backoff,
		count(e.RPCsWaited, "RPC", "RPCs"), because(e.Err))
}

// BackoffStarted reports that a subchannel waits before its next attempt.
type BackoffStarted struct {
	Header
	Episode ID
}

// Kind implements [Event].
func (BackoffStarted) Kind() Kind { return KindBackoff }

// Name implements [Event].
func (BackoffStarted) Name() string { return "backoff.started" }

func (e BackoffStarted) String() string {
	return fmt.Sprintf("subchannel %d: backing off", e.Subchannel)
}

// BackoffEnded reports that the wait is over.
type BackoffEnded struct {
	Header
	Episode ID
	Start   time.Time
	Outcome Outcome
}

// Kind implements [Event].
func (BackoffEnded) Kind() Kind { return KindBackoff }

// Name implements [Event].
func (BackoffEnded) Name() string { return "backoff.ended" }

func (e BackoffEnded) String() string {
	return fmt.Sprintf("subchannel %d: backed off %v (%s)", e.Subchannel, e.Time.Sub(e.Start), e.Outcome)
}
