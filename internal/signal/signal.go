// Package signal holds every name that redial gives to spans, attributes and metrics, as docs/signals.md lists them.
// What OpenTelemetry's semantic conventions name is taken from semconv where it is used.
package signal

import "go.opentelemetry.io/otel/attribute"

// Spans.
const (
	Connect   = "grpc.connect"
	Attempt   = "grpc.connect.attempt"
	Backoff   = "grpc.connect.backoff"
	Transport = "grpc.transport"
	Resolve   = "grpc.resolve"
	PickWait  = "grpc.pick.wait"
)

// Phase returns the name of the span of a phase.
func Phase(phase string) string { return "grpc.connect." + phase }

// Events on spans.
const (
	Unavailable   = "redial.unavailable"
	TransportLost = "redial.transport_lost"
	Draining      = "redial.draining"
	Unhealthy     = "redial.unhealthy"
	Healthy       = "redial.healthy"
	DialTried     = "redial.dial.tried"
	Stalled       = "redial.stalled"
	Recovered     = "redial.recovered"
	// DeadlineExceeded is on the span of an RPC that was sent and got no answer until its deadline.
	DeadlineExceeded = "redial.deadline_exceeded"
)

// Attributes.
const (
	Target          = attribute.Key("grpc.target")
	SubchannelState = attribute.Key("grpc.subchannel.state")
	ChannelState    = attribute.Key("grpc.channel.state")
	DisconnectError = attribute.Key("grpc.disconnect_error")

	ChannelID    = attribute.Key("redial.channel.id")
	SubchannelID = attribute.Key("redial.subchannel.id")
	EndpointID   = attribute.Key("redial.endpoint.id")
	EpisodeID    = attribute.Key("redial.episode.id")
	AttemptID    = attribute.Key("redial.attempt.id")
	TransportID  = attribute.Key("redial.transport.id")
	// PreviousEpisodeID is the chapter before.
	PreviousEpisodeID = attribute.Key("redial.episode.previous_id")
	Trigger           = attribute.Key("redial.trigger")
	Outcome           = attribute.Key("redial.outcome")
	PhaseName         = attribute.Key("redial.phase")
	TeardownCause     = attribute.Key("redial.teardown.cause")
	GoAwayDebugData   = attribute.Key("redial.goaway.debug_data")
	Attempts          = attribute.Key("redial.attempts")
	AttemptNumber     = attribute.Key("redial.attempt.number")
	BackoffTotal      = attribute.Key("redial.backoff.total")
	BackoffDelay      = attribute.Key("redial.backoff.delay")
	WaitReason        = attribute.Key("redial.wait.reason")
	RPCsWaited        = attribute.Key("redial.rpcs.waited")
	RPCsInterrupted   = attribute.Key("redial.rpcs.interrupted")
	RPCsInFlight      = attribute.Key("redial.rpcs.in_flight")
	RPCsRetried       = attribute.Key("redial.rpcs.retried")
	RPCsSent          = attribute.Key(TransportRPCs)
	SubchannelRank    = attribute.Key("redial.subchannel.rank")
	Addresses         = attribute.Key("redial.resolve.addresses")
	ProxyAddress      = attribute.Key("redial.proxy.address")
	ProxyPort         = attribute.Key("redial.proxy.port")
	TCPRTT            = attribute.Key("redial.tcp.rtt")
	TCPRetransmits    = attribute.Key("redial.tcp.retransmits")
	TCPState          = attribute.Key("redial.tcp.state")
	TCPIdle           = attribute.Key("redial.tcp.idle")
	TCPSendIdle       = attribute.Key("redial.tcp.send_idle")
	TCPUnacked        = attribute.Key("redial.tcp.unacked")
	TCPAckIdle        = attribute.Key("redial.tcp.ack_idle")
	TCPTimeouts       = attribute.Key("redial.tcp.timeouts")
	Path              = attribute.Key("redial.path")
	StalledDuration   = attribute.Key("redial.transport.stalled_duration")
	SinkName          = attribute.Key("redial.sink")
	Fact              = attribute.Key("redial.internals.fact")

	HTTP2ErrorCode = attribute.Key("http2.error_code")
)

// Metrics.
const (
	Subchannels        = "redial.subchannels"
	Channels           = "redial.channels"
	ConnectDuration    = "redial.connect.duration"
	AttemptDuration    = "redial.attempt.duration"
	PhaseDuration      = "redial.phase.duration"
	BackoffDuration    = "redial.backoff.duration"
	TransportDuration  = "redial.transport.duration"
	TransportRPCs      = "redial.transport.rpcs"
	SubchannelRPCs     = "redial.subchannel.rpcs"
	InterruptedRPCs    = "redial.transport.interrupted_rpcs"
	Unattributed       = "redial.transport.unattributed"
	PickWaitDuration   = "redial.pick.wait.duration"
	PickWaiting        = "redial.pick.waiting"
	UnavailableRPCs    = "redial.pick.unavailable_rpcs"
	ResolveDuration    = "redial.resolve.duration"
	ResolveAnswers     = "redial.resolve.answers"
	ResolveAddresses   = "redial.resolve.addresses"
	ResolveAge         = "redial.resolve.age"
	ResolveSuccess     = "redial.resolve.last_success"
	ChannelsOpened     = "redial.channel.opened"
	Disconnected       = "redial.endpoint.disconnected"
	UnhealthyEndpoints = "redial.endpoint.unhealthy"
	StalledTransports  = "redial.transport.stalled"
	ConnectAge         = "redial.connect.age"
	TLSServerNotAfter  = "redial.tls.server.not_after"
	EventsDropped      = "redial.events.dropped"
	SpansSuppressed    = "redial.spans.suppressed"
	TargetsOverflowed  = "redial.targets.overflowed"
	InternalsFailed    = "redial.internals.failed"
)

// GRPC are the instruments of gRFC A94, which redial records under their own names.
var GRPC = []string{
	Disconnections,
	"grpc.subchannel.connection_attempts_succeeded",
	"grpc.subchannel.connection_attempts_failed",
	"grpc.subchannel.open_connections",
}

// The instruments of gRFC A80.
const (
	TCPMinRTT               = "grpc.tcp.min_rtt"
	TCPDeliveryRate         = "grpc.tcp.delivery_rate"
	TCPPacketsSent          = "grpc.tcp.packets_sent"
	TCPPacketsRetransmitted = "grpc.tcp.packets_retransmitted"
	TCPPacketsSpurious      = "grpc.tcp.packets_spurious_retransmitted"
)

// Disconnections is the instrument of gRFC A94 which is recorded for each lost transport.
const Disconnections = "grpc.subchannel.disconnections"
