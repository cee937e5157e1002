package event

import (
	"fmt"
	"time"
)

// Trigger says why a connection episode began.
type Trigger string

// The triggers.
const (
	// First: the channel's or endpoint's first connection.
	First Trigger = "first"
	// Redial: the connection was lost.
	Redial Trigger = "redial"
	// Wake: the channel or endpoint was idle and was woken, by an RPC or by ClientConn.Connect.
	Wake Trigger = "wake"
	// Continued: the chapter before is the same outage.
	Continued Trigger = "continued"
)

// Outcome says how an episode, attempt, backoff, pick wait or name resolution ended.
type Outcome string

// The outcomes.
const (
	OutcomeReady            Outcome = "ready"
	OutcomeFailed           Outcome = "failed"
	OutcomeCancelled        Outcome = "cancelled"
	OutcomeAbandoned        Outcome = "abandoned"
	OutcomeChannelClosed    Outcome = "channel_closed"
	OutcomeInterrupted      Outcome = "interrupted"
	OutcomePicked           Outcome = "picked"
	OutcomeDeadlineExceeded Outcome = "deadline_exceeded"
	OutcomeElapsed          Outcome = "elapsed"
	OutcomeReset            Outcome = "reset"
	OutcomeShutdown         Outcome = "shutdown"
	OutcomeContinued        Outcome = "continued"
)

// ConnectStarted tells that an endpoint began to connect: the start of an episode, or of its next chapter.
type ConnectStarted struct {
	Head
	Episode ID
	Trigger Trigger
	// Lost is the transport whose loss began the episode, or zero.
	Lost ID
	// Previous is the chapter before, where the trigger is Continued.
	Previous ID
}

// Kind implements [Event].
func (ConnectStarted) Kind() Kind { return KindConnect }

func (e ConnectStarted) String() string {
	return fmt.Sprintf("endpoint %d: connecting (%s)", e.Endpoint, e.Trigger)
}

// ConnectEnded tells that an endpoint is READY, or that its episode was given up, or that a chapter of it is over: the
// outcome is OutcomeContinued then. The numbers are those of the whole episode so far.
type ConnectEnded struct {
	Head
	Episode ID
	// Trigger is what began the episode, in every chapter.
	Trigger Trigger
	Outcome Outcome
	// Start is when the episode began.
	Start time.Time
	// Attempts counts the attempts of the episode, to whichever address.
	Attempts int
	// Backoff is the sum of the backoff waits.
	Backoff time.Duration
	// RPCsWaited counts the RPCs that the episode held up.
	RPCsWaited int
	// Err is the last attempt's failure where the outcome is not ready.
	Err       error
	ErrorType string
}

// Kind implements [Event].
func (ConnectEnded) Kind() Kind { return KindConnect }

func (e ConnectEnded) String() string {
	return fmt.Sprintf("endpoint %d: %s after %v, %d attempts, %v of backoff, %d RPCs waited%s",
		e.Endpoint, e.Outcome, e.Time.Sub(e.Start), e.Attempts, e.Backoff, e.RPCsWaited, because(e.Err))
}

// Phase is a part of a connection attempt.
type Phase string

// The phases of an attempt, in order.
const (
	// Dial opens the socket, through a proxy where one applies.
	Dial Phase = "dial"
	// Handshake is the credentials' handshake, TLS for instance.
	Handshake Phase = "handshake"
	// Settings waits for the server's HTTP/2 SETTINGS.
	Settings Phase = "settings"
)

// Conn names the two ends of a real socket.
type Conn struct {
	// Network is "tcp", "unix" ... as in net.Addr.
	Network       string
	Local, Remote string
}

// AttemptStarted tells that a subchannel began to connect.
type AttemptStarted struct {
	Head
	Episode ID
	Attempt ID
	// Number counts the attempts of the episode from 1.
	Number int
	// Address is what the resolver said.
	Address string
}

// Kind implements [Event].
func (AttemptStarted) Kind() Kind { return KindAttempt }

func (e AttemptStarted) String() string {
	return fmt.Sprintf("subchannel %d: attempt %d to %s", e.Subchannel, e.Number, e.Address)
}

// AttemptEnded tells how an attempt ended.
type AttemptEnded struct {
	Head
	Episode ID
	Attempt ID
	Number  int
	Address string
	Conn    Conn
	Start   time.Time
	Outcome Outcome
	// Phase is the one that failed; empty where the attempt succeeded.
	Phase     Phase
	Err       error
	ErrorType string
}

// Kind implements [Event].
func (AttemptEnded) Kind() Kind { return KindAttempt }

func (e AttemptEnded) String() string {
	s := fmt.Sprintf("subchannel %d: attempt %d to %s: %s after %v", e.Subchannel, e.Number, e.Address, e.Outcome, e.Time.Sub(e.Start))
	if e.Phase != "" {
		s += fmt.Sprintf(" in %s", e.Phase)
	}
	return s + because(e.Err)
}

// TLS is what a TLS handshake agreed on.
type TLS struct {
	// Version is "1.2" or "1.3".
	Version string
	Cipher  string
	Resumed bool
	// ServerSubject and ServerNotAfter come from the server's own certificate.
	ServerSubject  string
	ServerNotAfter time.Time
}

// Tried is one address that a dialer tried.
type Tried struct {
	At      time.Time
	Address string
}

// PhaseEnded tells how one phase of an attempt ended.
type PhaseEnded struct {
	Head
	Attempt ID
	Phase   Phase
	Start   time.Time
	Conn    Conn
	// Tried lists the addresses that a dial went to, in order, where the dialer is Handler.Dialer's.
	Tried []Tried
	// TLS is nil unless the phase is a TLS handshake that succeeded.
	TLS       *TLS
	Err       error
	ErrorType string
}

// Kind implements [Event].
func (PhaseEnded) Kind() Kind { return KindPhase }

func (e PhaseEnded) String() string {
	return fmt.Sprintf("subchannel %d: %s took %v%s", e.Subchannel, e.Phase, e.Time.Sub(e.Start), because(e.Err))
}

// BackoffStarted tells that a subchannel waits before its next attempt.
type BackoffStarted struct {
	Head
	Episode ID
}

// Kind implements [Event].
func (BackoffStarted) Kind() Kind { return KindBackoff }

func (e BackoffStarted) String() string {
	return fmt.Sprintf("subchannel %d: backing off", e.Subchannel)
}

// BackoffEnded tells that the wait is over.
type BackoffEnded struct {
	Head
	Episode ID
	Start   time.Time
	Outcome Outcome
}

// Kind implements [Event].
func (BackoffEnded) Kind() Kind { return KindBackoff }

func (e BackoffEnded) String() string {
	return fmt.Sprintf("subchannel %d: backed off %v (%s)", e.Subchannel, e.Time.Sub(e.Start), e.Outcome)
}
