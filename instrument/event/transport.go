package event

import (
	"fmt"
	"time"
)

// Cause says why a transport was torn down.
type Cause string

// The causes of a teardown.
const (
	CauseGoAway           Cause = "goaway"
	CauseTooManyPings     Cause = "too_many_pings"
	CausePeerClosed       Cause = "peer_closed"
	CauseConnectionReset  Cause = "connection_reset"
	CauseKeepaliveTimeout Cause = "keepalive_timeout"
	CauseTimedOut         Cause = "timed_out"
	CauseIdleTimeout      Cause = "idle_timeout"
	CauseAddressRemoved   Cause = "address_removed"
	CauseLBPolicy         Cause = "lb_policy"
	CauseChannelClosed    Cause = "channel_closed"
	CauseProtocolError    Cause = "protocol_error"
	CauseUnknown          Cause = "unknown"
)

// Unexpected reports whether the cause is a fault, and not something that a client, its resolver or a server that says
// GOAWAY meant to happen.
func (c Cause) Unexpected() bool {
	switch c {
	case CauseIdleTimeout, CauseAddressRemoved, CauseLBPolicy, CauseChannelClosed, CauseGoAway:
		return false
	}
	return true
}

// TransportReady tells that a subchannel's transport is READY for RPCs.
type TransportReady struct {
	Head
	Episode   ID
	Transport ID
	Address   string
	Conn      Conn
}

// Kind implements [Event].
func (TransportReady) Kind() Kind { return KindReady }

func (e TransportReady) String() string {
	return fmt.Sprintf("subchannel %d: READY, %s -> %s", e.Subchannel, e.Conn.Local, e.Conn.Remote)
}

// TransportDraining tells that a transport takes no new RPCs and waits for those that it still carries.
type TransportDraining struct {
	Head
	Transport       ID
	Cause           Cause
	DisconnectError string
	// InFlight counts the RPCs that the transport carries.
	InFlight int64
}

// Kind implements [Event].
func (TransportDraining) Kind() Kind { return KindTeardown }

func (e TransportDraining) String() string {
	return fmt.Sprintf("subchannel %d: draining %d RPCs (%s)", e.Subchannel, e.InFlight, e.Cause)
}

// TCP is what the kernel knew of the socket when the transport was lost. It is read on Linux.
type TCP struct {
	// State is the kernel's name: ESTABLISHED, CLOSE_WAIT ...
	State       string
	RTT         time.Duration
	Retransmits int64
	// Unacked counts the segments that were sent and not acknowledged.
	Unacked int64
	// Idle is the time since data was last received, and SendIdle since data was last sent.
	Idle, SendIdle time.Duration
	// MinRTT, DeliveryRate (bytes per second), Sent and Spurious (segments sent, and those sent again without need) are what
	// gRFC A80 measures, beside Retransmits.
	MinRTT         time.Duration
	DeliveryRate   uint64
	Sent, Spurious int64
}

// TCPSample is what a transport's socket did since the last sample; MinRTT and DeliveryRate are those of now. It is no
// event: sinks are not told of it.
type TCPSample struct {
	Target                      string
	MinRTT                      time.Duration
	DeliveryRate                uint64
	Sent, Retransmits, Spurious int64
}

// TransportEnded tells that a transport is gone, and why.
type TransportEnded struct {
	Head
	Transport ID
	Address   string
	Conn      Conn
	// Start is when it became READY.
	Start time.Time
	// Lost is when it stopped taking RPCs, and Gone when its connection was closed.
	Lost, Gone time.Time
	Cause      Cause
	// Outcome is OutcomeInterrupted where redial was shut down before the transport ended, and empty else.
	Outcome Outcome
	// DisconnectError is gRPC's own word (gRFC A94), empty where gRPC said nothing.
	DisconnectError string
	// HTTP2ErrorCode and GoAwayDebugData are those of a GOAWAY.
	HTTP2ErrorCode  string
	GoAwayDebugData string
	// InFlight counts the RPCs that it carried when it was lost. Of these Interrupted were killed by the loss, and Retried
	// were sent again by gRPC itself, since the server had not seen them; the others were still answered.
	InFlight, Interrupted, Retried int64
	// TCP is nil where the kernel was not asked.
	TCP *TCP
	// RPCError is the error of an RPC that the loss killed, or empty.
	RPCError string
}

// Kind implements [Event].
func (TransportEnded) Kind() Kind { return KindTeardown }

func (e TransportEnded) String() string {
	return fmt.Sprintf("subchannel %d: transport %s -> %s gone after %v: %s (grpc says %q), %d RPCs killed",
		e.Subchannel, e.Conn.Local, e.Conn.Remote, e.Gone.Sub(e.Start), e.Cause, e.DisconnectError, e.Interrupted)
}
