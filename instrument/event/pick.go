package event

import (
	"context"
	"fmt"
	"time"
)

// PickWaitStarted reports that an RPC waits for a transport.
type PickWaitStarted struct {
	Header
	Episode ID
	// Method is the RPC's full method, "/package.Service/Method".
	Method string
}

// Kind implements [Event].
func (PickWaitStarted) Kind() Kind { return KindPickWait }

// Name implements [Event].
func (PickWaitStarted) Name() string { return "pick_wait.started" }

func (e PickWaitStarted) String() string {
	return fmt.Sprintf("channel %d: %s waits for a transport", e.Channel, e.Method)
}

// PickWaitEnded reports that an RPC waits no more.
type PickWaitEnded struct {
	Header
	// Context is the RPC's own, for its span. It may be done.
	Context context.Context
	// Method is the RPC's full method, "/package.Service/Method".
	Method string
	// Episode is the one that the RPC waited for, or zero.
	Episode ID
	Start   time.Time
	Outcome Outcome
	// Err is the RPC's error where it got no transport, and ErrorType its class.
	Err       error
	ErrorType string
}

// Kind implements [Event].
func (PickWaitEnded) Kind() Kind { return KindPickWait }

// Name implements [Event].
func (PickWaitEnded) Name() string { return "pick_wait.ended" }

func (e PickWaitEnded) String() string {
	return fmt.Sprintf("channel %d: %s waited %v for a transport: %s%s",
		e.Channel, e.Method, e.Time.Sub(e.Start), e.Outcome, because(e.Err))
}

// RPCRefused reports that an RPC failed because no subchannel was READY.
type RPCRefused struct {
	Header
	// Context is the RPC's own, for its span. It may be done.
	Context context.Context
	// Method is the RPC's full method, "/package.Service/Method".
	Method string
	// Episode is the one that is open, or zero.
	Episode ID
	Err     error
	// ErrorType is the class of the failure that keeps the endpoint from being READY.
	ErrorType string
}

// Kind implements [Event].
func (RPCRefused) Kind() Kind { return KindPickWait }

// Name implements [Event].
func (RPCRefused) Name() string { return "rpc.refused" }

func (e RPCRefused) String() string {
	return fmt.Sprintf("channel %d: %s refused%s", e.Channel, e.Method, because(e.Err))
}
