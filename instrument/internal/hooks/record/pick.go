package record

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/hooks/grpcinternals"
	"github.com/redial-dev/redial/instrument/internal/lifecycle"
)

// pendingPick is an RPC that has no transport yet. One that begins while its channel is not READY is followed from its
// begin, and its context carries the record; others from the first picker that had no transport for it.
type pendingPick struct {
	method string
	since  time.Time
	// waitForReady: gRPC does not fail the RPC while its policy is in TRANSIENT_FAILURE.
	waitForReady bool
	// followed: the RPC counts among those that the observer follows by their contexts.
	followed bool
	// resolving: gRPC reported that the RPC waited for name resolution, which is not recorded yet.
	resolving bool
	// channel is nil until it is known, and policy until a picker of it saw the RPC.
	channel *Channel
	policy  *Policy
	// queued: a picker had no transport for the RPC. placed: the last picker that saw the RPC had one. dropped: it refused
	// the RPC by itself.
	queued, placed, dropped bool
	transport               *Transport // Where the RPC was placed.
	// wait is nil while the RPC is not known to wait: gRPC may fail it at once.
	wait *lifecycle.Wait
	err  error
	// ctx is the RPC's own, when it has begun, and streamWait its wait for a stream, once it was placed.
	ctx        context.Context
	streamWait *lifecycle.Wait
	// sent is when it got a stream, or zero.
	sent time.Time
	// opening: the RPC was placed, and has no stream yet. Any goroutine may ask.
	opening atomic.Bool
	// done is the Done channel of the RPC's context, while it is followed.
	done <-chan struct{}
}

// pickKey is the key of an RPC's pending pick in its context.
type pickKey struct{ observer *Observer }

// pickContext is the context of an RPC whose pick is followed.
type pickContext struct {
	context.Context
	key  pickKey
	pick *pendingPick
}

// Value implements [context.Context].
func (c *pickContext) Value(key any) any {
	if key == c.key {
		return c.pick
	}
	return c.Context.Value(key)
}

// Done implements [context.Context]. gRPC calls it when the RPC has its transport, and waits for a stream.
func (c *pickContext) Done() <-chan struct{} {
	if p := c.pick; p.opening.Load() {
		waits, known := grpcinternals.WaitsForStream()
		if c.key.observer.holds(grpcinternals.StreamWaits, known) && waits {
			c.key.observer.guard.Run(p.waitForStream)
		}
	}
	return c.Context.Done()
}

func (p *pendingPick) waitForStream() {
	p.opening.Store(false)
	p.policy.channel.withLock(func(at time.Time) {
		p.streamWait = p.channel.machine.WaitForStream(p.ctx, at, p.method)
	})
}

// TagRPC returns the context of an RPC that begins. It adds the record of its pick where the RPC may have to wait, or
// had to, and nothing to other contexts.
func (a *Attachment) TagRPC(ctx context.Context, method string, failFast, resolutionDelayed bool) context.Context {
	o := a.observer
	o.noteBegun(ctx)
	o.followed.again(ctx)
	resolutionDelayed = resolutionDelayed && o.rpcs.first(ctx)
	o.rpcs.again(ctx)
	if !resolutionDelayed && !a.mayWait() {
		return ctx
	}
	p := &pendingPick{
		method: method, since: time.Now(), waitForReady: !failFast, followed: true, resolving: resolutionDelayed,
		channel: a.only.Load(),
	}
	if !o.followed.add(ctx, p) {
		o.cfg.Events.PickOverflowed()
		return ctx
	}
	return &pickContext{ctx, pickKey{o}, p}
}

// Following reports whether any RPC is followed from its begin.
func (o *Observer) Following() bool { return o.followed.n.Load() > 0 }

// RPCBegan records that an RPC begins, with the context that all handlers have made.
func (o *Observer) RPCBegan(ctx context.Context) {
	p := o.inContext(ctx)
	if p == nil {
		return
	}
	p.ctx = ctx
	if p.channel != nil {
		p.begin(ctx)
	}
}

func (o *Observer) inContext(ctx context.Context) *pendingPick {
	p, _ := ctx.Value(pickKey{o}).(*pendingPick)
	return p
}

// begin records what the RPC waited for, and that it may wait now, once its channel is known.
func (p *pendingPick) begin(ctx context.Context) {
	p.channel.withLock(func(at time.Time) {
		ch := p.channel.machine
		if p.resolving {
			p.resolving = false
			ch.Resolved(ctx, p.since, p.method)
		}
		if ch.State() != event.StateReady && (p.waitForReady || !ch.Failing()) {
			p.wait = ch.Pending(ctx, p.since, at, p.method)
		}
	})
}

// seen records that a picker of a policy saw the RPC.
func (p *pendingPick) seen(ctx context.Context, by *Policy) {
	p.policy, p.placed, p.dropped, p.transport = by, false, false, nil
	p.opening.Store(false)
	if p.channel == nil {
		p.channel = by.channel
		p.begin(ctx)
	}
}

// NotPicked records that the policy's picker has no transport for an RPC.
func (p *Policy) NotPicked(info balancer.PickInfo, err error) {
	queued := errors.Is(err, balancer.ErrNoSubConnAvailable)
	_, dropped := status.FromError(err)
	if dropped && !queued { // The policy's own refusals are no lack of a transport.
		if pick := p.Observer().inContext(info.Ctx); pick != nil {
			pick.seen(info.Ctx, p)
			pick.dropped = true
		}
		return
	}
	pick := p.pending(info)
	if pick == nil {
		return
	}
	pick.queued = true
	// gRPC fails the RPC where the policy does not queue it, unless it is a wait-for-ready one. It is that too if it
	// comes again.
	waits := queued || pick.waitForReady || pick.err != nil
	if !queued {
		pick.err = err
	}
	if waits {
		pick.queue(info.Ctx)
	}
}

// pending returns the RPC's pending pick, or nil if it is not followed.
func (p *Policy) pending(info balancer.PickInfo) *pendingPick {
	o := p.Observer()
	if o.Following() {
		if pick := o.inContext(info.Ctx); pick != nil && pick.followed {
			pick.seen(info.Ctx, p)
			return pick
		}
	}
	pick, full := o.picks.LoadOrAdd(info.Ctx, func() *pendingPick {
		return &pendingPick{channel: p.channel, policy: p, method: info.FullMethodName, since: time.Now()}
	})
	if full {
		o.cfg.Events.PickOverflowed()
	}
	return pick
}

// queue records that the RPC waits for its policy to connect.
func (p *pendingPick) queue(ctx context.Context) {
	p.channel.withLock(func(at time.Time) {
		if p.wait == nil {
			p.wait = p.channel.machine.Pending(ctx, p.since, at, p.method)
		}
		p.wait.Queued(at, p.policy.machine)
	})
}

// Placed records that the policy's picker has a transport for an RPC, or nil where it is not known which. gRPC may find
// that the transport was lost since, and come again.
func (p *Policy) Placed(ctx context.Context, on *Transport) {
	if pick := p.Observer().inContext(ctx); pick != nil {
		pick.seen(ctx, p)
		pick.placed, pick.transport = true, on
		pick.opening.Store(pick.followed && pick.ctx != nil)
	}
}

// PicksPending reports whether any RPC waits for a pick.
func (o *Observer) PicksPending() bool { return o.Following() || !o.picks.Empty() }

// find returns the RPC's pending pick, or nil.
func (o *Observer) find(ctx context.Context) *pendingPick {
	if o.Following() {
		if p := o.inContext(ctx); p != nil && p.followed {
			return p
		}
	}
	return o.picks.Take(ctx)
}

// Picked records that an RPC got a transport after it was held up.
func (o *Observer) Picked(ctx context.Context) {
	p := o.find(ctx)
	if p == nil || p.channel == nil {
		return
	}
	p.channel.withLock(func(at time.Time) {
		if p.wait == nil {
			p.wait = p.channel.machine.Pending(ctx, p.since, at, p.method)
			if p.queued {
				p.wait.Queued(at, p.policy.machine)
			}
		}
		p.wait.Picked(at)
	})
}

// Sent records that an RPC is on the wire.
func (o *Observer) Sent(ctx context.Context) {
	if p := o.inContext(ctx); p != nil {
		o.release(p)
	}
}

// release follows an RPC no more. It waited for nothing that is not recorded.
func (o *Observer) release(p *pendingPick) {
	if !p.followed {
		return
	}
	o.followed.remove(p)
	p.sent = time.Now()
	p.opening.Store(false)
	if p.transport != nil {
		p.transport.sent(p.streamWait != nil)
	}
	if p.placed && p.streamWait == nil {
		p.channel.untried.Store(false)
	}
	if p.wait == nil && p.streamWait == nil {
		return
	}
	p.channel.withLock(func(at time.Time) {
		if p.wait != nil {
			p.wait.Drop(at)
		}
		if p.streamWait != nil {
			p.streamWait.Picked(at)
		}
	})
}

func (o *Observer) notPicked(ctx context.Context, err error) {
	p := o.find(ctx)
	if p != nil && p.channel == nil {
		o.blameOnly(ctx, p, err)
	}
	if p == nil || p.channel == nil || p.placed && p.streamWait == nil || p.dropped {
		return
	}
	if p.streamWait != nil && status.Code(err) == codes.Unavailable { // The transport is lost, and gRPC finds another.
		p.channel.withLock(func(at time.Time) { p.streamWait.TransportLost(at) })
		return
	}
	outcome := outcomeOf(err)
	var refused event.RPCRefused
	p.channel.withLock(func(at time.Time) {
		wait := p.wait
		if p.streamWait != nil {
			wait = p.streamWait
		}
		if wait != nil {
			wait.End(at, outcome, err)
		}
		reason := wait.Reason()
		var policy *lifecycle.Policy
		if p.policy != nil {
			policy = p.policy.machine
		}
		refused = p.channel.machine.Refuse(ctx, at, policy, p.method, reason, err)
	})
	if outcome != event.OutcomeCancelled && refused.Context != nil {
		o.cfg.Notes.Refused(refused)
		o.rpcs.refused(ctx, p.channel, refused)
	}
}

// blameOnly finds the channel of an RPC that died while gRPC waited for a picker to place it: it is the one that is not
// READY, if there is but one, and was not when the RPC began.
func (o *Observer) blameOnly(ctx context.Context, p *pendingPick, err error) {
	c := o.newestUnready.Load()
	if c == nil || o.unready.Load() != 1 || !grpcinternals.IsPickTimeout(status.Convert(err).Message()) {
		return
	}
	if since := c.unreadySince.Load(); since == 0 || since > p.since.UnixNano() {
		return
	}
	p.channel = c
	p.begin(ctx)
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
