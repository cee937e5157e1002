// Package event defines what redial observes: one small struct for each thing that happens to a channel, its
// endpoints and subchannels. Spans, metrics and log lines are all made from these events, and so is whatever a
// [Sink] of yours makes.
//
// Every event tells of something in the past and never changes after it was handed out. The events of one
// channel arrive in the order in which they happened.
package event

import (
	"context"
	"time"
)

// ID names one connection episode, attempt or transport. It is unique in a process and never zero, so that zero
// means "none".
type ID uint64

// Event is one of the structs of this package that embed [Head].
type Event interface {
	// Header returns what every event has: when it happened, and to what.
	Header() Head
	// Kind returns the event's class, as the journal and the log name it.
	Kind() Kind
	// String tells the event in one line, for people.
	String() string
}

// Kind is the class of an event.
type Kind string

// The kinds of event.
const (
	KindState    Kind = "state"
	KindResolve  Kind = "resolve"
	KindConnect  Kind = "connect"
	KindAttempt  Kind = "attempt"
	KindPhase    Kind = "phase"
	KindBackoff  Kind = "backoff"
	KindReady    Kind = "ready"
	KindTeardown Kind = "teardown"
	KindPickWait Kind = "pick_wait"
)

// Kinds lists the kinds of event.
var Kinds = []Kind{
	KindState, KindResolve, KindConnect, KindAttempt, KindPhase, KindBackoff, KindReady, KindTeardown, KindPickWait,
}

// A Sink listens to events. Handle is called from one goroutine at a time, behind a bounded queue: a sink that
// blocks delays other sinks and makes the queue drop events (which is counted), but never delays an RPC. A panic
// in Handle is recovered and reported through otel.Handle.
//
// The context carries the span that tells of the event, if there is one, so that a log record can name its trace. It is
// never done.
type Sink interface {
	Handle(context.Context, Event)
}

// SinkFunc makes a [Sink] of a function.
type SinkFunc func(context.Context, Event)

// Handle calls f.
func (f SinkFunc) Handle(ctx context.Context, e Event) { f(ctx, e) }

// Head is the part that all events have in common.
type Head struct {
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

// Header implements [Event].
func (h Head) Header() Head { return h }

func because(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}
