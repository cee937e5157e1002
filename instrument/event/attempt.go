package event

import (
	"fmt"
	"time"
)

// Phase is a part of a connection attempt.
type Phase string

// The phases of an attempt, in order.
const (
	// PhaseDial opens the socket, through a proxy where one applies.
	PhaseDial Phase = "dial"
	// PhaseHandshake is the credentials' handshake, TLS for instance.
	PhaseHandshake Phase = "handshake"
	// PhaseSettings waits for the server's HTTP/2 SETTINGS.
	PhaseSettings Phase = "settings"
)

// Conn names the two ends of a real socket.
type Conn struct {
	// Network is "tcp", "unix" ... as in net.Addr.
	Network string
	// Local and Remote are the addresses, as net.Addr writes them.
	Local, Remote string
}

// AttemptStarted reports that a subchannel began to connect.
type AttemptStarted struct {
	Header
	Episode ID
	Attempt ID
	// Number counts the attempts of the episode from 1.
	Number int
	// Previous is the same attempt in the chapter before, where it goes on for long, and else zero.
	Previous ID
	// Address is that of the server, as the resolver gave it; empty where the subchannel has several, of which gRPC tries
	// one after the other.
	Address string
	// Proxy is the address of the HTTP CONNECT proxy that is to lead to the server, or empty.
	Proxy string
}

// Kind implements [Event].
func (AttemptStarted) Kind() Kind { return KindAttempt }

// Name implements [Event].
func (AttemptStarted) Name() string { return "attempt.started" }

func (e AttemptStarted) String() string {
	return fmt.Sprintf("subchannel %d: attempt %d%s", e.Subchannel, e.Number, toward(e.Address, e.Proxy))
}

// AttemptEnded reports how an attempt ended, or that a chapter of a long one is over: the outcome is OutcomeContinued
// then.
type AttemptEnded struct {
	Header
	Episode ID
	Attempt ID
	Number  int
	// Address is that of the server. Where the subchannel has several addresses it is the one that is connected; or the
	// first, whose error gRPC reports, if all failed; or empty if it is not known which.
	Address string
	// Proxy is the address of the HTTP CONNECT proxy that is to lead to the server, or empty.
	Proxy string
	Conn  Conn
	// Start is when the attempt began, in every chapter.
	Start   time.Time
	Outcome Outcome
	// Phase is the one that failed, or that goes on; empty where the attempt succeeded.
	Phase Phase
	// Err is why the attempt failed, or nil, and ErrorType its class.
	Err       error
	ErrorType string
}

// Kind implements [Event].
func (AttemptEnded) Kind() Kind { return KindAttempt }

// Name implements [Event].
func (AttemptEnded) Name() string { return "attempt.ended" }

func (e AttemptEnded) String() string {
	return fmt.Sprintf("subchannel %d: attempt %d%s: %s after %v%s%s",
		e.Subchannel, e.Number, toward(e.Address, e.Proxy), e.Outcome, e.Time.Sub(e.Start),
		with(" in ", string(e.Phase), ""), because(e.Err))
}

// toward describes where an attempt leads to, as far as it is known.
func toward(address, proxy string) string {
	return with(" to ", address, "") + with(" through the proxy ", proxy, "")
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

// DialAttempt is one address that a dialer tried.
type DialAttempt struct {
	// At is when the dialer tried it.
	At      time.Time
	Address string
}

// PhaseEnded reports how one phase of an attempt ended.
type PhaseEnded struct {
	Header
	Attempt ID
	Phase   Phase
	Start   time.Time
	Conn    Conn
	// DialAttempts lists the addresses that a dial went to, in order, where the dialer is Handler.Dialer's.
	DialAttempts []DialAttempt
	// TLS is nil unless the phase is a TLS handshake that succeeded.
	TLS *TLS
	// Err is why the phase failed, or nil, and ErrorType its class.
	Err       error
	ErrorType string
}

// Kind implements [Event].
func (PhaseEnded) Kind() Kind { return KindPhase }

// Name implements [Event].
func (PhaseEnded) Name() string { return "phase.ended" }

func (e PhaseEnded) String() string {
	return fmt.Sprintf("subchannel %d: %s took %v%s", e.Subchannel, e.Phase, e.Time.Sub(e.Start), because(e.Err))
}
