package event

// Cause says why a transport was torn down. docs/causes.md says what to do about each.
type Cause string

// The causes of a teardown.
const (
	// CauseGoAway is a GOAWAY of the server: it asks clients to connect again.
	CauseGoAway Cause = "goaway"
	// CauseTooManyPings is a GOAWAY of a server to which this client's keepalive pings too often.
	CauseTooManyPings Cause = "too_many_pings"
	// CausePeerClosed is a connection that the peer closed in order (FIN).
	CausePeerClosed Cause = "peer_closed"
	// CauseConnectionReset is a connection that the peer or something between reset (RST).
	CauseConnectionReset Cause = "connection_reset"
	// CauseKeepaliveTimeout is a peer that did not answer gRPC's keepalive ping.
	CauseKeepaliveTimeout Cause = "keepalive_timeout"
	// CauseTimedOut is a peer that did not acknowledge data for so long that the kernel gave up.
	CauseTimedOut Cause = "timed_out"
	// CauseIdleTimeout is a channel that had no RPCs for its idle timeout.
	CauseIdleTimeout Cause = "idle_timeout"
	// CauseAddressRemoved is an address that the name resolver gives no more.
	CauseAddressRemoved Cause = "address_removed"
	// CauseLBPolicy is a decision of the load balancing policy.
	CauseLBPolicy Cause = "lb_policy"
	// CauseChannelClosed is ClientConn.Close.
	CauseChannelClosed Cause = "channel_closed"
	// CauseProtocolError is a violation of HTTP/2.
	CauseProtocolError Cause = "protocol_error"
	// CauseUnknown is given where the evidence is not conclusive.
	CauseUnknown Cause = "unknown"
)

// Unexpected reports whether the cause is a fault, and not something that a client, its resolver or a server that sends
// a GOAWAY meant to happen.
func (c Cause) Unexpected() bool {
	switch c {
	case CauseIdleTimeout, CauseAddressRemoved, CauseLBPolicy, CauseChannelClosed, CauseGoAway:
		return false
	}
	return true
}
