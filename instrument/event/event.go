// Package event defines what redial observes: one small struct for each thing that happens to a channel, its
// endpoints and subchannels. Spans, metrics and log lines are all made from these events, and so is what a
// [Sink] of yours makes.
//
// Every event describes something in the past and never changes after it was handed out. The events of one
// channel arrive in the order in which they happened.
package event

import (
	"context"
	"fmt"
	"time"
)

// ID names one endpoint, connection episode, attempt or transport. It is unique in a process and never zero, so that
// zero means "none".
type ID uint64

// Event is one of the structs of this package that embed [Header].
type Event interface {
	// EventHeader returns what every event has: when it happened, and to what.
	EventHeader() Header
	// Kind returns the event's class, by which the journal and the log can be filtered.
	Kind() Kind
	// Name returns what happened, as "attempt.started": one name for each struct of this package.
	Name() string
	// String describes the event in one line, for people.
	String() string
}

// Kind is the class of an event.
type Kind string

// The kinds of event.
const (
	// KindState is a change of connectivity state, of a channel or of a subchannel.
	KindState Kind = "state"
	// KindResolve is an answer of the name resolver.
	KindResolve Kind = "resolve"
	// KindConnect is the start or end of a connection episode.
	KindConnect Kind = "connect"
	// KindAttempt is the start or end of a connection attempt.
	KindAttempt Kind = "attempt"
	// KindPhase is the end of a phase of an attempt.
	KindPhase Kind = "phase"
	// KindBackoff is the start or end of a backoff wait.
	KindBackoff Kind = "backoff"
	// KindReady is a transport that became READY.
	KindReady Kind = "ready"
	// KindHealth is a READY transport that gets no RPCs, or gets them again.
	KindHealth Kind = "health"
	// KindTeardown is the draining or the end of a transport.
	KindTeardown Kind = "teardown"
	// KindStall is a READY transport whose peer acknowledges nothing, or something again.
	KindStall Kind = "stall"
	// KindPickWait is an RPC that waits for a transport, waits no more, or failed for want of one.
	KindPickWait Kind = "pick_wait"
)

// Kinds lists the kinds of event.
var Kinds = []Kind{
	KindState, KindResolve, KindConnect, KindAttempt, KindPhase, KindBackoff, KindReady, KindHealth, KindStall,
	KindTeardown, KindPickWait,
}

// A Sink receives events. Handle is called from one goroutine at a time, behind a bounded queue: a sink that
// blocks delays other sinks and makes the queue drop events (which is counted), but never delays an RPC. A panic
// in Handle is recovered and reported through otel.Handle.
//
// The context carries the span that the event belongs to, if there is one, so that a log record can name its trace. It
// is never done.
type Sink interface {
	Handle(context.Context, Event)
}

// SinkFunc makes a [Sink] of a function.
type SinkFunc func(context.Context, Event)

// Handle calls f.
func (f SinkFunc) Handle(ctx context.Context, e Event) { f(ctx, e) }

// Header is the part that all events have in common.
type Header struct {
	// Time is when it happened.
	Time time.Time
	// Target is the channel's canonical target, as in gRFC A66.
	Target string
	// Channel is the channel's channelz id.
	Channel int64
	// Endpoint numbers the pick_first instance within the process; zero for events of the whole channel.
	Endpoint ID
	// Subchannel is the subchannel's channelz id; zero for events of a channel or endpoint.
	Subchannel int64
}

// EventHeader implements [Event].
func (h Header) EventHeader() Header { return h }

// because returns the end of a line: the error, if there is one.
func because(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

// count returns a number with its noun.
func count[N int | int64](n N, singular, plural string) string {
	if n == 1 {
		return "1 " + singular
	}
	return fmt.Sprintf("%d %s", n, plural)
}

// change describes a change of state. The first state that is seen has none before it.
func change(from, to State) string {
	if from == "" {
		return string(to)
	}
	return fmt.Sprintf("%s -> %s", from, to)
}

// with returns text between before and after, or nothing if it is empty.
func with(before, text, after string) string {
	if text == "" {
		return ""
	}
	return before + text + after
}
