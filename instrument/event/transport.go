package event

import (
	"fmt"
	"time"
)

// TransportReady reports that a subchannel's transport is READY for RPCs.
type TransportReady struct {
	Header
	Episode   ID
	Transport ID
	// Address is that of the server, as the resolver gave it; empty where the subchannel has several, and it is not known
	// which is connected.
	Address string
	// Proxy is the address of the HTTP CONNECT proxy that leads to the server, or empty.
	Proxy string
	Conn  Conn
}

// Kind implements [Event].
func (TransportReady) Kind() Kind { return KindReady }

// Name implements [Event].
func (TransportReady) Name() string { return "transport.ready" }

func (e TransportReady) String() string {
	return fmt.Sprintf("subchannel %d: READY%s", e.Subchannel, with(", ", e.Conn.ends(), ""))
}

// TransportDraining reports that a transport takes no new RPCs and waits for those that it still carries.
type TransportDraining struct {
	Header
	Transport ID
	Cause     Cause
	// DisconnectError is gRPC's own reason for the loss (gRFC A94), empty where it gave none.
	DisconnectError string
	// InFlight counts the RPCs that the transport carries.
	InFlight int64
}

// Kind implements [Event].
func (TransportDraining) Kind() Kind { return KindTeardown }

// Name implements [Event].
func (TransportDraining) Name() string { return "transport.draining" }

func (e TransportDraining) String() string {
	return fmt.Sprintf("subchannel %d: draining %s (%s)", e.Subchannel, count(e.InFlight, "RPC", "RPCs"), e.Cause)
}

// TCP is what the kernel knew of a transport's socket. It is read on Linux.
type TCP struct {
	// State is the kernel's name: ESTABLISHED, CLOSE_WAIT ...
	State string
	// RTT is the smoothed round-trip time.
	RTT time.Duration
	// Retransmits counts the segments that were sent again.
	Retransmits int64
	// Unacked counts the segments that were sent and not acknowledged, InFlight their bytes, and Unsent the bytes that
	// wait to be sent.
	Unacked, InFlight, Unsent int64
	// Idle is the time since data was last received, AckIdle since an acknowledgement was, and SendIdle since data was
	// last sent.
	Idle, AckIdle, SendIdle time.Duration
	// RTO is the time after which the kernel sends again what is not acknowledged. It doubles each time.
	RTO time.Duration
	// Timeouts counts the times in a row that it did so, and Probes the probes in a row that nothing answered.
	Timeouts, Probes int64
	// MinRTT, DeliveryRate (bytes per second), Sent and Spurious (segments sent, and those sent again without need) are
	// what gRFC A80 measures, beside Retransmits.
	MinRTT         time.Duration
	DeliveryRate   uint64
	Sent, Spurious int64
}

// TransportStalled reports that the peer of a transport acknowledges nothing, and that gRPC still takes it for READY:
// an RPC on it ended at its deadline, and the kernel sends in vain. It ends with [TransportRecovered], or with the
// transport. It is seen on Linux.
type TransportStalled struct {
	Header
	Transport ID
	// Start is since when nothing is known to have been acknowledged.
	Start time.Time
	// InFlight counts the RPCs that the transport carries.
	InFlight int64
	TCP      *TCP
}

// Kind implements [Event].
func (TransportStalled) Kind() Kind { return KindStall }

// Name implements [Event].
func (TransportStalled) Name() string { return "transport.stalled" }

func (e TransportStalled) String() string {
	return fmt.Sprintf("subchannel %d: stalled, READY but nothing acknowledged for %v", e.Subchannel, e.Time.Sub(e.Start))
}

// TransportRecovered reports that the peer of a transport that was stalled acknowledges again.
type TransportRecovered struct {
	Header
	Transport ID
	// Start is that of [TransportStalled].
	Start time.Time
}

// Kind implements [Event].
func (TransportRecovered) Kind() Kind { return KindStall }

// Name implements [Event].
func (TransportRecovered) Name() string { return "transport.recovered" }

func (e TransportRecovered) String() string {
	return fmt.Sprintf("subchannel %d: recovered after %v", e.Subchannel, e.Time.Sub(e.Start))
}

// TransportEnded reports that a transport is gone, and why.
type TransportEnded struct {
	Header
	Transport ID
	// Address and Proxy are those of [TransportReady].
	Address, Proxy string
	Conn           Conn
	// Start is when it became READY.
	Start time.Time
	// Lost is when it stopped taking RPCs, and Gone when its connection was closed.
	Lost, Gone time.Time
	Cause      Cause
	// Outcome is OutcomeInterrupted where redial was shut down before the transport ended, and empty else.
	Outcome Outcome
	// DisconnectError is gRPC's own reason for the loss (gRFC A94), empty where it gave none.
	DisconnectError string
	// HTTP2ErrorCode and GoAwayDebugData are those of a GOAWAY.
	HTTP2ErrorCode  string
	GoAwayDebugData string
	// InFlight counts the RPCs that it carried when it was lost. Of these Interrupted were killed by the loss, and Retried
	// were sent again by gRPC itself, since the server had not seen them; the others were still answered.
	InFlight, Interrupted, Retried int64
	// RPCs counts all that were sent over it.
	RPCs int64
	// Stalled is for how long it was READY and nothing was acknowledged, as far as that was seen.
	Stalled time.Duration
	// TCP is what the kernel knew at the loss, or nil where it was not asked.
	TCP *TCP
	// RPCError is the error of an RPC that the loss killed, or empty.
	RPCError string
}

// Kind implements [Event].
func (TransportEnded) Kind() Kind { return KindTeardown }

// Name implements [Event].
func (TransportEnded) Name() string { return "transport.ended" }

func (e TransportEnded) String() string {
	stalled := ""
	if e.Stalled > 0 {
		stalled = fmt.Sprintf(", stalled for %v", e.Stalled)
	}
	return fmt.Sprintf("subchannel %d: transport%s gone after %v and %s: %s%s, %d killed%s",
		e.Subchannel, with(" ", e.Conn.ends(), ""), e.Gone.Sub(e.Start), count(e.RPCs, "RPC", "RPCs"),
		e.Cause, with(` (gRPC reports "`, e.DisconnectError, `")`), e.Interrupted, stalled)
}

// ends describes both ends of a socket, or is empty where none is known.
func (c Conn) ends() string {
	if c.Local == "" && c.Remote == "" {
		return ""
	}
	return c.Local + " -> " + c.Remote
}
