package record

import (
	"context"
	"reflect"
	"sync"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/hooks/grpcinternals"
)

// RPCStarted records that an RPC was placed on the transport, and returns what its end must be reported to. It
// allocates nothing.
func (t *Transport) RPCStarted() (done func(balancer.DoneInfo)) {
	t.placed.Add(1)
	t.streams.changed(t.channel, t.inFlight.Add(1))
	return t.done
}

// rpcDone records that an RPC is done, unless its end has to show first whether the server answered it.
func (t *Transport) rpcDone(info balancer.DoneInfo) {
	if !info.BytesSent {
		t.unsent.Add(1)
	}
	if info.Err != nil && len(info.Trailer) == 0 { // One with a trailer was answered.
		if t.rpcFailed(info) {
			return
		}
	}
	t.rpcLeft()
}

// rpcLeft counts an RPC as done.
func (t *Transport) rpcLeft() {
	n := t.inFlight.Add(-1)
	t.streams.changed(t.channel, n)
	if n <= 0 && t.leaving.Load() {
		t.settle()
	}
}

// rpcFailed records an RPC that the transport may have killed. It returns true where [Observer.RPCEnded] does that, a
// moment later.
func (t *Transport) rpcFailed(info balancer.DoneInfo) (later bool) {
	message := status.Convert(info.Err).Message()
	switch code := status.Code(info.Err); {
	case code != codes.Unavailable && code != codes.Canceled:
	case grpcinternals.IsChannelClose(message):
		t.channel.withLock(func(at time.Time) { t.machine.RPCClosed(at) })
	case code == codes.Canceled:
	case !info.BytesSent && grpcinternals.IsTransportError(message),
		!info.BytesReceived && grpcinternals.IsTransparentRetry(message):
		// Without a stream, gRPC may place the RPC on the same transport again and again, until it reports the loss.
		closing := info.BytesSent && grpcinternals.IsTransportError(message)
		t.channel.withLock(func(time.Time) { t.machine.RPCRetried(closing) })
	case grpcinternals.IsTransportError(message):
		if t.channel.observer.transports.ByLocalAddr(t.key.LocalAddr) == t {
			t.undecided.Add(1)
			return true
		}
		t.rpcKilled(info.Err)
	case info.BytesSent && !info.BytesReceived && t.lostToPeer():
		// The server said nothing, so the error is gRPC's own.
		t.channel.observer.holds(grpcinternals.RPCErrors, grpcinternals.IsRefusal(message))
	}
	return false
}

func (t *Transport) lostToPeer() (lost bool) {
	t.channel.withLock(func(time.Time) { lost = t.machine.LostToPeer() })
	return lost
}

func (t *Transport) rpcKilled(err error) {
	t.channel.withLock(func(at time.Time) { t.machine.RPCKilled(at, err.Error()) })
}

// TransportsLeaving reports whether any transport takes no new RPCs.
func (o *Observer) TransportsLeaving() bool { return o.leaving.Load() > 0 }

// RPCAnswered records that the server answered an RPC, if its transport is leaving: whatever error the answer is, the
// transport did not kill the RPC.
func (o *Observer) RPCAnswered(ctx context.Context) {
	if t := o.transportOf(ctx); t != nil && t.leaving.Load() {
		t.answered.add(ctx)
	}
}

// RPCEnded records the end of an RPC, which may have waited in vain, died with its transport, or got no answer until
// its deadline.
func (o *Observer) RPCEnded(ctx context.Context, began time.Time, trailer metadata.MD, err error) {
	if err != nil {
		o.notPicked(ctx, err)
	}
	if o.Following() {
		o.Sent(ctx)
	}
	t := o.transportOf(ctx)
	if t == nil {
		return
	}
	answered := t.answered.remove(ctx)
	if err != nil && !answered && len(trailer) == 0 && grpcinternals.IsDeadline(ctx, err) {
		t.noteTimedOut(ctx, began)
	}
	killed := err != nil && status.Code(err) == codes.Unavailable && len(trailer) == 0 &&
		grpcinternals.IsTransportError(status.Convert(err).Message())
	if !killed || !t.takeUndecided() {
		return
	}
	if !answered {
		t.rpcKilled(err)
		t.noteKilled(ctx)
	}
	t.rpcLeft()
}

// takeUndecided reports whether an RPC of the transport waits for its end to show whether the server answered it, and
// takes it as the one that ends.
func (t *Transport) takeUndecided() bool {
	if t.undecided.Add(-1) >= 0 {
		return true
	}
	t.undecided.Add(1)
	return false
}

// transportOf returns the transport of an RPC that is on one, or nil.
func (o *Observer) transportOf(ctx context.Context) *Transport {
	if p, ok := peer.FromContext(ctx); ok {
		return o.transports.ByLocalAddr(p.LocalAddr)
	}
	return nil
}

// noteKilled notes on an RPC's span why its transport was lost, if it was.
func (t *Transport) noteKilled(ctx context.Context) {
	var (
		id    event.ID
		cause event.Cause
		lost  bool
	)
	t.channel.withLock(func(time.Time) { id, cause, lost = t.machine.Lost() })
	if lost {
		t.channel.observer.cfg.Notes.Killed(ctx, id, cause)
	}
}

// answeredRPCs is a set of RPCs, by their contexts. It is safe for concurrent use.
type answeredRPCs struct {
	mu    sync.Mutex
	byCtx map[context.Context]struct{}
}

func (a *answeredRPCs) add(ctx context.Context) {
	if !reflect.TypeOf(ctx).Comparable() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byCtx == nil {
		a.byCtx = map[context.Context]struct{}{}
	}
	a.byCtx[ctx] = struct{}{}
}

// remove reports whether the RPC was in the set.
func (a *answeredRPCs) remove(ctx context.Context) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.byCtx) == 0 {
		return false
	}
	_, ok := a.byCtx[ctx]
	delete(a.byCtx, ctx)
	return ok
}
