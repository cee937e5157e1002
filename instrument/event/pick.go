package event

import (
	"context"
	"fmt"
	"time"
)

// PickWaitStarted tells that an RPC waits for a transport.
type PickWaitStarted struct {
	Head
	Episode ID
	Method  string
}

// Kind implements [Event].
func (PickWaitStarted) Kind() Kind { return KindPickWait }

func (e PickWaitStarted) String() string {
	return fmt.Sprintf("channel %d: %s waits for a transport", e.Channel, e.Method)
}

// PickWaitEnded tells that an RPC waits no more.
type PickWaitEnded struct {
	Head
	// Context is the RPC's own, for its span. It may be done.
	Context context.Context
	Method  string
	// Episode is the one that the RPC waited for, or zero.
	Episode ID
	Start   time.Time
	Outcome Outcome
	Err     error
	// ErrorType is the class of Err.
	ErrorType string
}

// Kind implements [Event].
func (PickWaitEnded) Kind() Kind { return KindPickWait }

func (e PickWaitEnded) String() string {
	return fmt.Sprintf("channel %d: %s waited %v for a transport: %s%s", e.Channel, e.Method, e.Time.Sub(e.Start), e.Outcome, because(e.Err))
}

// RPCRefused tells that an RPC failed because no subchannel was READY.
type RPCRefused struct {
	Head
	// Context is the RPC's own, for its span. It may be done.
	Context context.Context
	Method  string
	Episode ID
	Err     error
	// ErrorType is the class of the failure that keeps the endpoint from being READY.
	ErrorType string
}

// Kind implements [Event].
func (RPCRefused) Kind() Kind { return KindPickWait }

func (e RPCRefused) String() string {
	return fmt.Sprintf("channel %d: %s refused%s", e.Channel, e.Method, because(e.Err))
}
