// Package eventlog writes events as log records, with the keys that docs/signals.md gives to attributes.
package eventlog

import (
	"context"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/signal"
)

// The keys of what is not an attribute of a span.
const (
	KeyKind         = "kind"
	KeyEndpoint     = "redial.endpoint.id"
	KeyDuration     = "duration"
	KeyErrorMessage = "error.message"
	KeyTraceID      = "trace_id"
)

// New returns a sink for instrument.WithSink that writes each event as a record with the event's own time: failures
// and losses as warnings, what is READY, lost or backed off as information, the rest for debugging. The record names
// the trace that tells of the event, if that is sampled.
func New(h slog.Handler) event.Sink {
	return event.SinkFunc(func(ctx context.Context, e event.Event) {
		level := Level(e)
		if !h.Enabled(ctx, level) {
			return
		}
		r := slog.NewRecord(e.EventHeader().Time, level, e.String(), 0)
		r.AddAttrs(AppendAttrs(nil, e)...)
		if sc := trace.SpanContextFromContext(ctx); sc.IsSampled() {
			r.AddAttrs(slog.String(KeyTraceID, sc.TraceID().String()))
		}
		// A handler that fails has nobody to tell it to: logging is how things are told.
		_ = h.Handle(ctx, r)
	})
}

// Level returns the level of an event's record.
func Level(e event.Event) slog.Level {
	switch e := e.(type) {
	case event.AttemptEnded:
		if e.Outcome == event.OutcomeFailed {
			return slog.LevelWarn
		}
	case event.TransportEnded:
		if e.Cause.Unexpected() {
			return slog.LevelWarn
		}
		return slog.LevelInfo
	case event.Resolved:
		if e.Err != nil {
			return slog.LevelWarn
		}
	case event.RPCRefused:
		return slog.LevelWarn
	case event.TransportReady, event.TransportDraining, event.ConnectEnded:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

// AppendAttrs appends what an event tells, first its kind and what it is about. What is unknown is left out. Durations
// are float seconds.
func AppendAttrs(to []slog.Attr, e event.Event) []slog.Attr {
	h := e.EventHeader()
	a := attrs(to)
	a.add(slog.String(KeyKind, string(e.Kind())), slog.String(string(signal.Target), h.Target))
	a.id(string(signal.ChannelID), h.Channel)
	a.id(KeyEndpoint, int64(h.Endpoint))
	a.id(string(signal.SubchannelID), h.Subchannel)
	a.tell(e)
	return a
}

type attrs []slog.Attr

func (a *attrs) add(kvs ...slog.Attr) { *a = append(*a, kvs...) }

func (a *attrs) text(key, value string) {
	if value != "" {
		a.add(slog.String(key, value))
	}
}

func (a *attrs) id(key string, value int64) {
	if value != 0 {
		a.add(slog.Int64(key, value))
	}
}

func (a *attrs) duration(from, to time.Time) {
	a.add(slog.Float64(KeyDuration, to.Sub(from).Seconds()))
}

func (a *attrs) failure(err error, class string) {
	a.text(string(semconv.ErrorTypeKey), class)
	if err != nil {
		a.text(KeyErrorMessage, err.Error())
	}
}

func (a *attrs) server(address string) {
	a.address(string(semconv.ServerAddressKey), string(semconv.ServerPortKey), address)
}

func (a *attrs) conn(c event.Conn) {
	a.text(string(semconv.NetworkTransportKey), c.Network)
	a.address(string(semconv.NetworkLocalAddressKey), string(semconv.NetworkLocalPortKey), c.Local)
	a.address(string(semconv.NetworkPeerAddressKey), string(semconv.NetworkPeerPortKey), c.Remote)
}

func (a *attrs) address(hostKey, portKey, address string) {
	if !strings.Contains(address, ":") { // As those of unix sockets. Errors would cost an allocation.
		a.text(hostKey, address)
		return
	}
	host, digits, err := net.SplitHostPort(address)
	if err != nil {
		a.text(hostKey, address)
		return
	}
	a.text(hostKey, host)
	if port, err := strconv.Atoi(digits); err == nil {
		a.add(slog.Int(portKey, port))
	}
}

func (a *attrs) tell(e event.Event) {
	switch e := e.(type) {
	case event.ChannelState:
		a.states(e.From, e.To)
	case event.SubchannelState:
		a.states(e.From, e.To)
		a.failure(e.Err, "")
	case event.Resolved:
		a.duration(e.Start, e.Time)
		a.add(slog.String(string(signal.Outcome), string(e.Outcome)), slog.Int(string(signal.Addresses), e.Addresses))
		a.failure(e.Err, e.ErrorType)
	case event.ConnectStarted:
		a.add(slog.String(string(signal.Trigger), string(e.Trigger)))
	case event.ConnectEnded:
		a.duration(e.Start, e.Time)
		a.add(slog.String(string(signal.Trigger), string(e.Trigger)), slog.String(string(signal.Outcome), string(e.Outcome)),
			slog.Int(string(signal.Attempts), e.Attempts), slog.Float64(string(signal.BackoffTotal), e.Backoff.Seconds()),
			slog.Int(string(signal.RPCsWaited), e.RPCsWaited))
		a.failure(e.Err, e.ErrorType)
	case event.AttemptStarted:
		a.add(slog.Int(string(signal.AttemptNumber), e.Number))
		a.server(e.Address)
	case event.AttemptEnded:
		a.duration(e.Start, e.Time)
		a.add(slog.Int(string(signal.AttemptNumber), e.Number), slog.String(string(signal.Outcome), string(e.Outcome)))
		a.text(string(signal.PhaseName), string(e.Phase))
		a.server(e.Address)
		a.conn(e.Conn)
		a.failure(e.Err, e.ErrorType)
	case event.PhaseEnded:
		a.duration(e.Start, e.Time)
		a.add(slog.String(string(signal.PhaseName), string(e.Phase)))
		a.conn(e.Conn)
		a.failure(e.Err, e.ErrorType)
	case event.BackoffEnded:
		a.duration(e.Start, e.Time)
		a.add(slog.String(string(signal.Outcome), string(e.Outcome)))
	case event.TransportReady:
		a.server(e.Address)
		a.conn(e.Conn)
	case event.TransportDraining:
		a.add(slog.String(string(signal.TeardownCause), string(e.Cause)), slog.Int64(string(signal.RPCsInFlight), e.InFlight))
		a.text(string(signal.DisconnectError), e.DisconnectError)
	case event.TransportEnded:
		a.transportEnded(e)
	case event.PickWaitStarted:
		a.text("rpc.method", e.Method)
	case event.PickWaitEnded:
		a.duration(e.Start, e.Time)
		a.add(slog.String(string(signal.Outcome), string(e.Outcome)))
		a.text("rpc.method", e.Method)
		a.failure(e.Err, e.ErrorType)
	case event.RPCRefused:
		a.text("rpc.method", e.Method)
		a.failure(e.Err, e.ErrorType)
	}
}

func (a *attrs) states(from, to event.State) {
	a.text("from", string(from))
	a.add(slog.String("to", string(to)))
}

func (a *attrs) transportEnded(e event.TransportEnded) {
	a.duration(e.Start, e.Gone)
	a.server(e.Address)
	a.conn(e.Conn)
	a.text(string(signal.Outcome), string(e.Outcome))
	a.add(slog.String(string(signal.TeardownCause), string(e.Cause)), slog.Int64(string(signal.RPCsInFlight), e.InFlight),
		slog.Int64(string(signal.RPCsInterrupted), e.Interrupted), slog.Int64(string(signal.RPCsRetried), e.Retried))
	a.text(string(signal.DisconnectError), e.DisconnectError)
	a.text(string(signal.HTTP2ErrorCode), e.HTTP2ErrorCode)
	a.text(string(signal.GoAwayDebugData), e.GoAwayDebugData)
	a.text(KeyErrorMessage, e.RPCError)
	if t := e.TCP; t != nil {
		a.add(slog.String(string(signal.TCPState), t.State), slog.Float64(string(signal.TCPRTT), t.RTT.Seconds()),
			slog.Int64(string(signal.TCPRetransmits), t.Retransmits), slog.Int64(string(signal.TCPUnacked), t.Unacked),
			slog.Float64(string(signal.TCPIdle), t.Idle.Seconds()), slog.Float64(string(signal.TCPSendIdle), t.SendIdle.Seconds()))
	}
}
