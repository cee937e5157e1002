package record

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
	"github.com/redial-dev/redial/instrument/internal/lifecycle"
)

// pendingPick is an RPC that a picker had no transport for.
type pendingPick struct {
	policy *Policy
	method string
	since  time.Time
	// wait is nil while it is open whether gRPC fails the RPC at once, since its policy is in TRANSIENT_FAILURE.
	wait *lifecycle.Wait
	err  error
}

// waitForReadyKey marks the context of a wait-for-ready RPC.
type waitForReadyKey struct{}

// MarkWaitForReady marks the context of a wait-for-ready RPC where that makes a difference. It adds nothing to others.
func (o *Observer) MarkWaitForReady(ctx context.Context, failFast bool) context.Context {
	if !failFast && o.failing.Load() > 0 {
		return context.WithValue(ctx, waitForReadyKey{}, true)
	}
	return ctx
}

// NotPicked records that the policy's picker has no transport for an RPC.
func (p *Policy) NotPicked(info balancer.PickInfo, err error) {
	if errors.Is(err, balancer.ErrNoSubConnAvailable) {
		if pick := p.pending(info); pick != nil {
			pick.begin(info.Ctx)
		}
		return
	}
	if _, dropped := status.FromError(err); dropped { // The policy's own refusals are no lack of a transport.
		return
	}
	// gRPC fails the RPC, unless it is a wait-for-ready one.
	pick := p.pending(info)
	if pick == nil {
		return
	}
	again := pick.err != nil
	pick.err = err
	if again || info.Ctx.Value(waitForReadyKey{}) != nil {
		pick.begin(info.Ctx)
	}
}

// pending returns the RPC's pending pick, or nil if it is not followed.
func (p *Policy) pending(info balancer.PickInfo) *pendingPick {
	o := p.Observer()
	pick, full := o.picks.LoadOrAdd(info.Ctx, func() *pendingPick {
		return &pendingPick{policy: p, method: info.FullMethodName, since: time.Now()}
	})
	if full {
		o.cfg.Events.PickOverflowed()
	}
	return pick
}

func (p *pendingPick) begin(ctx context.Context) {
	if p.wait == nil {
		p.policy.channel.withLock(func(time.Time) { p.wait = p.policy.machine.Wait(ctx, p.since, p.method) })
	}
}

func (p *pendingPick) end(o event.Outcome, err error) {
	p.policy.channel.withLock(func(at time.Time) {
		if p.wait != nil {
			p.wait.End(at, o, err)
		}
	})
}

// PicksPending reports whether any RPC waits for a pick.
func (o *Observer) PicksPending() bool { return !o.picks.Empty() }

// Picked records that an RPC got a transport after all.
func (o *Observer) Picked(ctx context.Context) {
	pick := o.picks.Take(ctx)
	if pick == nil {
		return
	}
	pick.begin(ctx)
	pick.end(event.OutcomePicked, nil)
}

// RPCFailed records that an RPC ended with an error: it may have waited in vain, or died with its transport.
func (o *Observer) RPCFailed(ctx context.Context, err error) {
	o.notPicked(ctx, err)
	if status.Code(err) != codes.Unavailable || !failure.IsTransportError(status.Convert(err).Message()) {
		return
	}
	if p, ok := peer.FromContext(ctx); ok {
		o.noteKilled(ctx, p.LocalAddr)
	}
}

func (o *Observer) notPicked(ctx context.Context, err error) {
	pick := o.picks.Take(ctx)
	if pick == nil {
		return
	}
	outcome := outcomeOf(err)
	if pick.wait != nil {
		pick.end(outcome, err)
	}
	if outcome == event.OutcomeCancelled {
		return
	}
	var refused event.RPCRefused
	pick.policy.channel.withLock(func(at time.Time) {
		ch := pick.policy.channel.machine
		refused = ch.Refuse(ctx, at, pick.policy.machine, pick.method, pick.wait.Reason(), err)
		ch.Refused(at, refused)
	})
	if refused.Context != nil {
		o.cfg.Notes.Refused(refused)
	}
}

func outcomeOf(err error) event.Outcome {
	switch status.Code(err) {
	case codes.DeadlineExceeded:
		return event.OutcomeDeadlineExceeded
	case codes.Canceled:
		return event.OutcomeCancelled
	}
	return event.OutcomeFailed
}
