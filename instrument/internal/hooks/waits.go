package hooks

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/lifecycle"
)

// maxWaits bounds the RPCs that are followed while they wait.
const maxWaits = 1 << 16

// waits are the RPCs that a picker had no transport for, by their context: the same one comes back with the next pick,
// with DelayedPickComplete and with the RPC's end. One RPC's inputs come one after the other.
type waits struct {
	n     atomic.Int64 // The size of byCtx, at least.
	byCtx sync.Map     // Of comparable context.Context to *stalled. No RPC waits here for another.
}

// stalled is an RPC without a transport.
type stalled struct {
	policy *policy
	method string
	since  time.Time
	// wait is nil while it is open whether gRPC fails the RPC at once, since its policy is in TRANSIENT_FAILURE.
	wait *lifecycle.Wait
	err  error
}

// patientKey marks the context of a wait-for-ready RPC.
type patientKey struct{}

// queued tells that an RPC waits until the policy has another picker.
func (w *waits) queued(p *policy, info balancer.PickInfo) {
	if s := w.add(p, info); s != nil {
		s.begin(info.Ctx)
	}
}

// failed tells that the policy has no transport to hope for: gRPC fails the RPC, unless it is a wait-for-ready one.
func (w *waits) failed(p *policy, info balancer.PickInfo, err error) {
	s := w.add(p, info)
	if s == nil {
		return
	}
	again := s.err != nil
	s.err = err
	if again || info.Ctx.Value(patientKey{}) != nil {
		s.begin(info.Ctx)
	}
}

// add returns the record of the RPC, made now if there is none, or nil if there are too many.
func (w *waits) add(p *policy, info balancer.PickInfo) *stalled {
	if !reflect.TypeOf(info.Ctx).Comparable() {
		return nil
	}
	if s, ok := w.byCtx.Load(info.Ctx); ok {
		return s.(*stalled)
	}
	if w.n.Add(1) > maxWaits {
		w.n.Add(-1)
		p.observer.cfg.Overflow()
		return nil
	}
	s := &stalled{policy: p, method: info.FullMethodName, since: time.Now()}
	w.byCtx.Store(info.Ctx, s)
	return s
}

func (w *waits) take(ctx context.Context) *stalled {
	if w.n.Load() == 0 || !reflect.TypeOf(ctx).Comparable() {
		return nil
	}
	s, ok := w.byCtx.LoadAndDelete(ctx)
	if !ok {
		return nil
	}
	w.n.Add(-1)
	return s.(*stalled)
}

func (w *waits) clear() {
	w.byCtx.Range(func(ctx, _ any) bool {
		w.take(ctx.(context.Context))
		return true
	})
}

func (s *stalled) begin(ctx context.Context) {
	if s.wait == nil {
		s.policy.channel.do(func(time.Time) { s.wait = s.policy.life.Wait(ctx, s.since, s.method) })
	}
}

// picked tells that the RPC got a transport after all.
func (w *waits) picked(ctx context.Context) {
	s := w.take(ctx)
	if s == nil {
		return
	}
	s.begin(ctx)
	s.end(event.OutcomePicked, nil)
}

// ended tells that the RPC is over and never had a transport.
func (w *waits) ended(ctx context.Context, err error) {
	s := w.take(ctx)
	if s == nil {
		return
	}
	outcome := outcomeOf(err)
	if s.wait != nil {
		s.end(outcome, err)
	}
	if outcome != event.OutcomeCancelled && err != nil {
		s.refuse(ctx, err)
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

func (s *stalled) end(o event.Outcome, err error) {
	s.policy.channel.do(func(at time.Time) {
		if s.wait != nil {
			s.wait.End(at, o, err)
		}
	})
}

func (s *stalled) refuse(ctx context.Context, err error) {
	var refused event.RPCRefused
	s.policy.channel.do(func(at time.Time) { refused = s.policy.life.Refuse(ctx, at, s.method, err) })
	if refused.Context != nil {
		s.policy.observer.cfg.Refused(refused)
	}
}
