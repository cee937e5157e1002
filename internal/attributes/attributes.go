// Package attributes turns events into attributes, each in one place: those that an event's span has, and those that
// a log record or a line of JSON has besides. Nothing here allocates but to grow the list, so that a caller with a
// list of its own allocates nothing.
package attributes

import (
	"net"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/internal/signal"
)

// The keys that only records have, and that no convention names.
const (
	eventName    = attribute.Key("event")
	kind         = attribute.Key("kind")
	duration     = attribute.Key("duration")
	from         = attribute.Key("from")
	to           = attribute.Key("to")
	errorMessage = attribute.Key("error.message")
	// TraceID is the key of a trace's id in a record.
	TraceID = attribute.Key("trace_id")
)

// List is a list of attributes that grows.
type List []attribute.KeyValue

// Room is room for all attributes of any event's record.
const Room = 40

// Header appends what the spans of all events have.
func (l List) Header(h event.Header) List {
	return append(l, semconv.RPCSystemNameGRPC, signal.Target.String(h.Target)).
		id(signal.ChannelID, h.Channel).id(signal.SubchannelID, h.Subchannel)
}

// Span appends what an event says of its span, besides the header.
func (l List) Span(e event.Event) List {
	switch e := e.(type) {
	case event.ConnectStarted:
		return append(l, signal.Trigger.String(string(e.Trigger)))
	case event.ConnectEnded:
		return append(l, signal.Outcome.String(string(e.Outcome)), signal.Attempts.Int(e.Attempts),
			signal.BackoffTotal.Float64(e.Backoff.Seconds()), signal.RPCsWaited.Int(e.RPCsWaited)).errorType(e.ErrorType)
	case event.AttemptStarted:
		return l.server(e.Address, e.Proxy).add(signal.AttemptNumber.Int(e.Number))
	case event.AttemptEnded:
		return l.server(e.Address, e.Proxy).conn(e.Conn).add(signal.Outcome.String(string(e.Outcome))).
			text(signal.PhaseName, string(e.Phase)).errorType(e.ErrorType)
	case event.PhaseEnded:
		return l.phase(e)
	case event.BackoffEnded:
		return append(l, signal.Outcome.String(string(e.Outcome)), signal.BackoffDelay.Float64(e.Time.Sub(e.Start).Seconds()))
	case event.TransportUnhealthy:
		return l.errorType(e.ErrorType)
	case event.TransportDraining:
		return append(l, signal.TeardownCause.String(string(e.Cause)), signal.RPCsInFlight.Int64(e.InFlight)).
			text(signal.DisconnectError, e.DisconnectError)
	case event.TransportStalled:
		return append(l, signal.RPCsInFlight.Int64(e.InFlight)).tcp(e.TCP).silence(e.TCP)
	case event.TransportRecovered:
		return l.stalled(e.Time.Sub(e.Start))
	case event.TransportEnded:
		return l.transport(e)
	case event.Resolved:
		return append(l, signal.Outcome.String(string(e.Outcome)), signal.Addresses.Int(e.Addresses)).errorType(e.ErrorType)
	case event.PickWaitEnded:
		return append(l, signal.Outcome.String(string(e.Outcome))).text(signal.WaitReason, string(e.Reason)).
			errorType(e.ErrorType)
	case event.RPCRefused:
		return l.text(signal.WaitReason, string(e.Reason)).errorType(e.ErrorType)
	}
	return l
}

// Record appends all that an event says, for a log record: what happened, and to what, with the ids by which records
// can be joined. What is unknown is left out. Durations are float seconds.
func (l List) Record(e event.Event) List {
	h := e.EventHeader()
	l = append(l, eventName.String(e.Name()), kind.String(string(e.Kind())), signal.Target.String(h.Target)).
		id(signal.ChannelID, h.Channel).id(signal.EndpointID, int64(h.Endpoint)).id(signal.SubchannelID, h.Subchannel)
	return l.recordOnly(e).Span(e).text(errorMessage, errorText(e))
}

// recordOnly appends what a record says beyond an event's span: a span has it by its name, its times, its parent or
// its start.
func (l List) recordOnly(e event.Event) List {
	switch e := e.(type) {
	case event.ChannelState:
		return l.text(from, string(e.From)).text(to, string(e.To))
	case event.SubchannelState:
		return l.text(from, string(e.From)).text(to, string(e.To))
	case event.Resolved:
		if !e.Measured() {
			return l
		}
		return l.duration(e.Start, e.Time)
	case event.ConnectStarted:
		return l.id(signal.EpisodeID, int64(e.Episode)).id(signal.PreviousEpisodeID, int64(e.Previous)).
			id(signal.TransportID, int64(e.Lost))
	case event.ConnectEnded:
		return l.id(signal.EpisodeID, int64(e.Episode)).duration(e.Start, e.Time).
			add(signal.Trigger.String(string(e.Trigger)))
	case event.AttemptStarted:
		return l.id(signal.EpisodeID, int64(e.Episode)).id(signal.AttemptID, int64(e.Attempt))
	case event.AttemptEnded:
		return l.id(signal.EpisodeID, int64(e.Episode)).id(signal.AttemptID, int64(e.Attempt)).
			duration(e.Start, e.Time).add(signal.AttemptNumber.Int(e.Number))
	case event.PhaseEnded:
		return l.id(signal.AttemptID, int64(e.Attempt)).duration(e.Start, e.Time).
			add(signal.PhaseName.String(string(e.Phase)))
	case event.BackoffStarted:
		return l.id(signal.EpisodeID, int64(e.Episode))
	case event.BackoffEnded:
		return l.id(signal.EpisodeID, int64(e.Episode)).duration(e.Start, e.Time)
	case event.TransportReady:
		return l.id(signal.EpisodeID, int64(e.Episode)).id(signal.TransportID, int64(e.Transport)).
			server(e.Address, e.Proxy).conn(e.Conn)
	case event.TransportUnhealthy:
		return l.id(signal.TransportID, int64(e.Transport))
	case event.TransportHealthy:
		return l.id(signal.TransportID, int64(e.Transport)).duration(e.Start, e.Time)
	case event.TransportDraining:
		return l.id(signal.TransportID, int64(e.Transport))
	case event.TransportStalled:
		return l.id(signal.TransportID, int64(e.Transport)).duration(e.Start, e.Time)
	case event.TransportRecovered:
		return l.id(signal.TransportID, int64(e.Transport))
	case event.TransportEnded:
		return l.id(signal.TransportID, int64(e.Transport)).duration(e.Start, e.Gone)
	case event.PickWaitStarted:
		return l.id(signal.EpisodeID, int64(e.Episode)).text(semconv.RPCMethodKey, e.Method).
			text(signal.WaitReason, string(e.Reason))
	case event.PickWaitEnded:
		return l.id(signal.EpisodeID, int64(e.Episode)).text(semconv.RPCMethodKey, e.Method).
			duration(e.Start, e.Time)
	case event.RPCRefused:
		return l.id(signal.EpisodeID, int64(e.Episode)).text(semconv.RPCMethodKey, e.Method)
	}
	return l
}

// errorText returns the text of the error that an event has, or "".
func errorText(e event.Event) string {
	var err error
	switch e := e.(type) {
	case event.SubchannelState:
		err = e.Err
	case event.Resolved:
		err = e.Err
	case event.ConnectEnded:
		err = e.Err
	case event.AttemptEnded:
		err = e.Err
	case event.PhaseEnded:
		err = e.Err
	case event.TransportUnhealthy:
		err = e.Err
	case event.PickWaitEnded:
		err = e.Err
	case event.RPCRefused:
		err = e.Err
	case event.TransportEnded:
		return e.RPCError
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

// DialAttempt appends the address that a dialer tried.
func (l List) DialAttempt(d event.DialAttempt) List { return l.server(d.Address, "") }

// Cause appends why a transport was lost.
func (l List) Cause(c event.Cause) List { return append(l, signal.TeardownCause.String(string(c))) }

// phase appends the ends of the socket where the phase made it, and what a TLS handshake agreed on.
func (l List) phase(e event.PhaseEnded) List {
	if e.Phase == event.PhaseDial {
		l = l.conn(e.Conn)
	}
	if t := e.TLS; t != nil {
		l = append(l, semconv.TLSProtocolVersion(t.Version), semconv.TLSCipher(t.Cipher), semconv.TLSResumed(t.Resumed)).
			text(semconv.TLSServerSubjectKey, t.ServerSubject)
		if !t.ServerNotAfter.IsZero() {
			l = append(l, semconv.TLSServerNotAfter(t.ServerNotAfter.UTC().Format("2006-01-02T15:04:05.000Z")))
		}
	}
	return l.errorType(e.ErrorType)
}

func (l List) transport(e event.TransportEnded) List {
	l = l.server(e.Address, e.Proxy).conn(e.Conn)
	if e.Outcome == event.OutcomeInterrupted { // The transport lives on, unobserved.
		return append(l, signal.Outcome.String(string(e.Outcome)))
	}
	l = append(l, signal.TeardownCause.String(string(e.Cause)), signal.RPCsSent.Int64(e.RPCs),
		signal.RPCsInFlight.Int64(e.InFlight),
		signal.RPCsInterrupted.Int64(e.Interrupted), signal.RPCsRetried.Int64(e.Retried)).
		text(signal.DisconnectError, e.DisconnectError).
		text(signal.HTTP2ErrorCode, e.HTTP2ErrorCode).
		text(signal.GoAwayDebugData, e.GoAwayDebugData)
	if e.Stalled > 0 {
		l = l.stalled(e.Stalled)
	}
	return l.tcp(e.TCP)
}

// Path appends what the kernel knows of the path of an RPC that got no answer.
func (l List) Path(path string, tcp *event.TCP) List {
	return append(l, signal.Path.String(path)).tcp(tcp).silence(tcp)
}

func (l List) stalled(d time.Duration) List {
	return append(l, signal.StalledDuration.Float64(d.Seconds()))
}

// tcp appends what the kernel knew of a socket, if it was asked.
func (l List) tcp(t *event.TCP) List {
	if t == nil {
		return l
	}
	return append(l, signal.TCPState.String(t.State), signal.TCPRTT.Float64(t.RTT.Seconds()),
		signal.TCPRetransmits.Int64(t.Retransmits), signal.TCPUnacked.Int64(t.Unacked),
		signal.TCPIdle.Float64(t.Idle.Seconds()), signal.TCPSendIdle.Float64(t.SendIdle.Seconds()))
}

// silence appends for how long the peer acknowledged nothing, and how often the kernel sent again meanwhile.
func (l List) silence(t *event.TCP) List {
	if t == nil {
		return l
	}
	return append(l, signal.TCPAckIdle.Float64(t.AckIdle.Seconds()), signal.TCPTimeouts.Int64(t.Timeouts))
}

func (l List) add(kv attribute.KeyValue) List { return append(l, kv) }

func (l List) text(key attribute.Key, value string) List {
	if value == "" {
		return l
	}
	return append(l, key.String(value))
}

func (l List) id(key attribute.Key, value int64) List {
	if value == 0 {
		return l
	}
	return append(l, key.Int64(value))
}

func (l List) duration(from, to time.Time) List {
	return append(l, duration.Float64(to.Sub(from).Seconds()))
}

func (l List) errorType(class string) List { return l.text(semconv.ErrorTypeKey, class) }

// server appends the address that the resolver gave, and that of the proxy which leads there.
func (l List) server(address, proxy string) List {
	return l.address(semconv.ServerAddressKey, semconv.ServerPortKey, address).
		address(signal.ProxyAddress, signal.ProxyPort, proxy)
}

// conn appends the ends of the real socket.
func (l List) conn(c event.Conn) List {
	return l.text(semconv.NetworkTransportKey, c.Network).
		address(semconv.NetworkPeerAddressKey, semconv.NetworkPeerPortKey, c.Remote).
		address(semconv.NetworkLocalAddressKey, semconv.NetworkLocalPortKey, c.Local)
}

// address appends an address as host and port, where it has a numeric port, and else as it is: a unix socket, or a port
// given by its name.
func (l List) address(hostKey, portKey attribute.Key, address string) List {
	if !strings.Contains(address, ":") { // An error of SplitHostPort would cost an allocation.
		return l.text(hostKey, address)
	}
	host, digits, err := net.SplitHostPort(address)
	if err != nil {
		return l.text(hostKey, address)
	}
	port, err := strconv.Atoi(digits)
	if err != nil {
		return l.text(hostKey, address)
	}
	return l.text(hostKey, host).add(portKey.Int(port))
}
