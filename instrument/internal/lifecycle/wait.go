package lifecycle

import (
	"context"
	"time"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
)

// Wait is an RPC that waits: for one reason, and then maybe for another, each with its own start.
//
//	name_resolution ──► policy ──► connecting ──► picked or not
//
// Whether an RPC waits for its policy shows only when it waits no more: until then it is pending, and not reported.
type Wait struct {
	ch     *Channel
	policy *Policy // The one that queued the RPC, or nil.
	ctx    context.Context
	method string

	reason   event.WaitReason
	start    time.Time
	episode  event.ID
	reported bool
	// connecting is the episode that was open in the channel when the RPC began, or the first since, while it is pending.
	connecting *episode
}

// Pending adds an RPC that began when the channel was not READY, and has no transport yet. It waits for name resolution
// if that goes on, or waited for it if that went on when it began.
func (c *Channel) Pending(ctx context.Context, since, at time.Time, method string) *Wait {
	w := c.newWait(ctx, since, method)
	w.connecting = c.episode()
	switch {
	case c.resolving() && len(c.policies) == 0:
		w.begin(at, event.WaitNameResolution)
	case c.resolver != nil && !since.Before(c.resolver.start) && since.Before(c.resolver.start.Add(c.resolver.took)):
		w.begin(at, event.WaitNameResolution)
		w.next(at)
		w.start = c.resolver.start.Add(c.resolver.took)
	}
	if w.reason == event.WaitPolicy && len(c.policies) == 0 && c.resolveFailure() != "" {
		w.reason = event.WaitNameResolution // There is no policy yet: the resolver failed, and may answer later.
	}
	return w
}

// Failing reports whether RPCs that are not wait-for-ready fail at once: the channel is in TRANSIENT_FAILURE, or about
// to be, since its resolver failed and there is no policy.
func (c *Channel) Failing() bool {
	return c.state == event.StateTransientFailure || len(c.policies) == 0 && c.resolveFailure() != ""
}

// Resolved reports an RPC that waited for the channel's first name resolution until the time that is given. gRPC
// reports such an RPC when the wait is over: it began when the resolver was asked, or later.
func (c *Channel) Resolved(ctx context.Context, at time.Time, method string) {
	start := at
	if c.resolver != nil {
		start = c.resolver.start
	}
	w := c.newWait(ctx, start, method)
	w.begin(at, event.WaitNameResolution)
	w.end(at, event.OutcomeContinued, nil)
}

// Wait reports that the policy's picker queued an RPC.
func (p *Policy) Wait(ctx context.Context, at time.Time, method string) *Wait {
	w := p.ch.newWait(ctx, at, method)
	w.Queued(at, p)
	return w
}

// WaitForName reports an RPC that waits for the name since it began, or returns nil if the name is resolved, and the
// RPC waits for something else.
func (c *Channel) WaitForName(ctx context.Context, since, at time.Time, method string) *Wait {
	if !c.resolving() {
		return nil
	}
	w := c.newWait(ctx, since, method)
	w.begin(at, event.WaitNameResolution)
	return w
}

// WaitForStream reports an RPC that has a transport, and waits for one of its streams.
func (c *Channel) WaitForStream(ctx context.Context, at time.Time, method string) *Wait {
	w := c.newWait(ctx, at, method)
	w.begin(at, event.WaitStreamQuota)
	return w
}

func (c *Channel) newWait(ctx context.Context, start time.Time, method string) *Wait {
	w := &Wait{ch: c, ctx: ctx, method: method, reason: event.WaitPolicy, start: start}
	if c.interrupted {
		return w
	}
	if c.waits == nil {
		c.waits = map[*Wait]struct{}{}
	}
	c.waits[w] = struct{}{}
	return w
}

// begin reports that the RPC waits, and for what.
func (w *Wait) begin(at time.Time, reason event.WaitReason) {
	w.reason = reason
	if w.reported || !w.open() {
		return
	}
	w.reported = true
	if w.policy != nil {
		w.join(w.policy.episode())
	} else if reason == event.WaitPolicy {
		w.join(w.connecting)
	}
	w.ch.emit(event.PickWaitStarted{Header: w.ch.header(at), Reason: reason, Episode: w.episode, Method: w.method})
}

// resolved ends a wait for name resolution.
func (w *Wait) resolved(at time.Time) {
	if w.reason == event.WaitNameResolution {
		w.begin(at, w.reason)
		w.next(at)
	}
}

// next ends the wait for one reason. What comes next is pending.
func (w *Wait) next(at time.Time) {
	w.reportEnd(at, event.OutcomeContinued, nil)
	w.reported, w.reason, w.start, w.episode = false, event.WaitPolicy, w.ch.now, 0
	w.connecting = w.ch.episode()
}

// Queued reports that the picker of a policy that connects queued the RPC.
func (w *Wait) Queued(at time.Time, p *Policy) {
	if w.reported && w.reason != event.WaitConnecting {
		w.next(at)
	}
	w.policy = p
	w.begin(at, event.WaitConnecting)
}

// Picked reports that the RPC got a transport after it waited.
func (w *Wait) Picked(at time.Time) {
	w.begin(at, w.reason)
	w.end(at, event.OutcomePicked, nil)
}

// Drop takes back an RPC that is pending: it waited for nothing.
func (w *Wait) Drop(at time.Time) {
	if w.reported {
		w.end(at, event.OutcomePicked, nil)
		return
	}
	w.remove()
}

// Abandon takes back an RPC of whose attempt gRPC made no use: another takes its place.
func (w *Wait) Abandon(at time.Time) {
	if w.reported {
		w.end(at, event.OutcomeContinued, nil)
		return
	}
	w.remove()
}

// interrupt ends the wait if it was reported.
func (w *Wait) interrupt(at time.Time) {
	if w.reported {
		w.end(at, event.OutcomeInterrupted, nil)
		return
	}
	w.remove()
}

// shortest is how long an RPC that failed must have been pending to be known to have waited: it began when the channel
// was not READY, but its policy may have failed it at once.
const shortest = time.Millisecond

// End reports that the RPC ended without a transport. Later calls do nothing.
func (w *Wait) End(at time.Time, o event.Outcome, err error) {
	if !w.reported && o == event.OutcomeFailed && at.Sub(w.start) < shortest {
		w.remove()
		return
	}
	w.begin(at, w.reason)
	w.end(at, o, err)
}

// TransportLost reports that the transport whose stream the RPC waits for is lost. gRPC places the RPC anew, unless the
// channel is closed.
func (w *Wait) TransportLost(at time.Time) {
	o := event.OutcomeContinued
	if w.ch.state == event.StateShutdown {
		o = event.OutcomeCancelled
	}
	w.end(at, o, nil)
}

func (w *Wait) end(at time.Time, o event.Outcome, err error) {
	if w.open() {
		w.remove()
		w.reportEnd(at, o, err)
	}
}

func (w *Wait) reportEnd(at time.Time, o event.Outcome, err error) {
	w.ch.emit(event.PickWaitEnded{
		Header: w.ch.header(at), Reason: w.reason, Context: w.ctx, Method: w.method, Episode: w.episode, Start: w.start,
		Outcome: o, Err: err, ErrorType: w.failure(o, err),
	})
}

func (w *Wait) open() bool {
	_, open := w.ch.waits[w]
	return open
}

func (w *Wait) remove() {
	delete(w.ch.waits, w)
	if len(w.ch.waits) == 0 {
		w.ch.waits = nil // A map keeps the memory of all that were ever in it.
	}
}

// join counts the RPC among those that wait for an episode.
func (w *Wait) join(e *episode) {
	if e != nil {
		w.episode = e.id
		e.rpcsWaited++
	}
}

// failure returns the class of a wait's end: what keeps the endpoint from being READY, unless the caller gave up.
func (w *Wait) failure(o event.Outcome, err error) string {
	switch {
	case o == event.OutcomeCancelled:
		return failure.Cancelled
	case err == nil:
		return ""
	case w.reason == event.WaitStreamQuota: // The endpoint is READY.
		return failure.Type(err)
	}
	if class := w.ch.failureOf(w.policy); class != "" {
		return class
	}
	if o == event.OutcomeDeadlineExceeded {
		return failure.Timeout
	}
	return failure.PickType(err)
}

// failureOf returns the class of the failure that keeps a policy, or any of the channel's where that is nil, from being
// READY, or that of the name resolution, or "".
func (c *Channel) failureOf(p *Policy) string {
	if e := c.failed(p); e != nil {
		return e.failed.class
	}
	return c.resolveFailure()
}

func (c *Channel) resolveFailure() string {
	if c.resolver == nil || c.resolver.last.failed == nil {
		return ""
	}
	return c.resolver.last.failed.class
}

// failed returns the endpoint that failed last, of a policy or of the whole channel.
func (c *Channel) failed(p *Policy) *endpoint {
	if p != nil {
		return p.failed()
	}
	var last *endpoint
	for _, p := range c.policies {
		if e := p.failed(); e != nil && (last == nil || e.failed.at.After(last.failed.at)) {
			last = e
		}
	}
	return last
}

// episode returns the oldest that is open.
func (c *Channel) episode() *episode {
	var oldest *episode
	for _, p := range c.policies {
		if e := p.episode(); e != nil && (oldest == nil || e.id < oldest.id) {
			oldest = e
		}
	}
	return oldest
}

// Reason returns what the RPC waits for, or "" if it is not known to wait.
func (w *Wait) Reason() event.WaitReason {
	if w == nil || !w.reported {
		return ""
	}
	return w.reason
}

// Refuse returns what is to be reported of an RPC that failed since its policy, or the channel where that is nil, has
// no READY subchannel, with what it waited for before.
func (c *Channel) Refuse(
	ctx context.Context, at time.Time, p *Policy, method string, reason event.WaitReason, err error,
) event.RPCRefused {
	refused := event.RPCRefused{Header: c.header(at), Context: ctx, Method: method, Reason: reason, Err: err}
	if reason == event.WaitStreamQuota { // The RPC has a READY transport: no endpoint's failure is the reason.
		refused.ErrorType = failure.Type(err)
		return refused
	}
	if refused.ErrorType = c.failureOf(p); refused.ErrorType == "" {
		refused.ErrorType = failure.PickType(err)
	}
	if e := c.failed(p); e != nil {
		refused.Endpoint = e.id
	}
	e := c.episode()
	if p != nil {
		e = p.episode()
	}
	if e != nil {
		refused.Episode = e.id
	}
	return refused
}

// Refused reports that an RPC failed for want of a READY subchannel, and was not sent again.
func (c *Channel) Refused(at time.Time, e event.RPCRefused) {
	e.Time = c.advance(at)
	c.emit(e)
}
