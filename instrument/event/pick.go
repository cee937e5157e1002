package event

import (
	"context"
	"fmt"
	"time"
)

// WaitReason says what an RPC waits for.
type WaitReason string

// The reasons for which an RPC waits.
const (
	// WaitNameResolution is an answer of the name resolver, at the channel's start or when it wakes from idleness.
	WaitNameResolution WaitReason = "name_resolution"
	// WaitConnecting is a transport: the endpoint connects, or backs off before it does.
	WaitConnecting WaitReason = "connecting"
	// WaitPolicy is a load balancing policy above the endpoints, which does not ask one of them yet.
	WaitPolicy WaitReason = "policy"
	// WaitStreamQuota is a stream of the transport, all of which that the server allows at once are in use.
	WaitStreamQuota WaitReason = "stream_quota"
)

// WaitReasons lists the reasons for which an RPC waits.
var WaitReasons = []WaitReason{WaitNameResolution, WaitConnecting, WaitPolicy, WaitStreamQuota}

// noun returns what an RPC waits for, for people.
func (r WaitReason) noun() string {
	switch r {
	case WaitNameResolution:
		return "name resolution"
	case WaitPolicy:
		return "its load balancing policy"
	case WaitStreamQuota:
		return "a stream"
	}
	return "a transport"
}

// PickWaitStarted reports that an RPC waits.
type PickWaitStarted struct {
	Header
	Reason WaitReason
	// Episode is the one that the RPC waits for, or zero.
	Episode ID
	// Method is the RPC's full method, "/package.Service/Method".
	Method string
}

// Kind implements [Event].
func (PickWaitStarted) Kind() Kind { return KindPickWait }

// Name implements [Event].
func (PickWaitStarted) Name() string { return "pick_wait.started" }

func (e PickWaitStarted) String() string {
	return fmt.Sprintf("channel %d: %s waits for %s", e.Channel, e.Method, e.Reason.noun())
}

// PickWaitEnded reports that an RPC waits no more, or for another reason: the outcome is OutcomeContinued then.
type PickWaitEnded struct {
	Header
	Reason WaitReason
	// Context is the RPC's own, for its span. It may be done.
	Context context.Context
	// Method is the RPC's full method, "/package.Service/Method".
	Method string
	// Episode is the one that the RPC waited for, or zero.
	Episode ID
	Start   time.Time
	Outcome Outcome
	// Err is the RPC's error where it got no transport, and ErrorType the class of the failure that keeps the endpoint
	// from being READY, or of the error.
	Err       error
	ErrorType string
}

// Kind implements [Event].
func (PickWaitEnded) Kind() Kind { return KindPickWait }

// Name implements [Event].
func (PickWaitEnded) Name() string { return "pick_wait.ended" }

func (e PickWaitEnded) String() string {
	return fmt.Sprintf("channel %d: %s waited %v for %s: %s%s",
		e.Channel, e.Method, e.Time.Sub(e.Start), e.Reason.noun(), e.Outcome, because(e.Err))
}

// RPCRefused reports that an RPC failed because no subchannel was READY and healthy.
type RPCRefused struct {
	Header
	// Context is the RPC's own, for its span. It may be done.
	Context context.Context
	// Method is the RPC's full method, "/package.Service/Method".
	Method string
	// Reason is what the RPC waited for before, empty if it did not wait.
	Reason WaitReason
	// Episode is the one that is open, or zero.
	Episode ID
	Err     error
	// ErrorType is the class of the failure that keeps the endpoint from taking RPCs.
	ErrorType string
}

// Kind implements [Event].
func (RPCRefused) Kind() Kind { return KindPickWait }

// Name implements [Event].
func (RPCRefused) Name() string { return "rpc.refused" }

func (e RPCRefused) String() string {
	return fmt.Sprintf("channel %d: %s refused%s", e.Channel, e.Method, because(e.Err))
}
