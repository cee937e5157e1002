package hooks

import (
	"errors"
	"sync/atomic"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/status"
)

// picker counts the RPCs on each transport, and tells of those that get none. A pick that succeeds allocates nothing,
// unless the policy itself wants to know when the RPC is done.
type picker struct {
	balancer.Picker
	policy *policy
	// first is the subchannel picked first: pick_first picks no other. It is set once, lest RPCs of other subchannels, where
	// a policy picks among several, contend for it.
	first atomic.Pointer[subConn]
}

// Pick implements [balancer.Picker].
func (p *picker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	result, err := p.Picker.Pick(info)
	if err != nil {
		if !p.policy.observer.closed.Load() {
			p.policy.noPick(info, err)
		}
		return result, err
	}
	f := p.flight(result.SubConn)
	if f == nil {
		return result, nil
	}
	f.inFlight.Add(1)
	if done := result.Done; done != nil {
		result.Done = func(info balancer.DoneInfo) {
			f.done(info)
			done(info)
		}
	} else {
		result.Done = f.done
	}
	return result, nil
}

func (p *picker) flight(sc balancer.SubConn) *flight {
	s := p.first.Load()
	if s == nil || s.sc != sc {
		found := p.policy.find(sc)
		if found == nil {
			return nil
		}
		if s == nil {
			p.first.Store(found)
		}
		s = found
	}
	return s.flight.Load()
}

// noPick tells what becomes of an RPC that the picker has no transport for.
func (p *policy) noPick(info balancer.PickInfo, err error) {
	defer p.observer.recovered()
	if errors.Is(err, balancer.ErrNoSubConnAvailable) {
		p.observer.waits.queued(p, info)
		return
	}
	if _, dropped := status.FromError(err); !dropped { // The policy's own refusals are no lack of a transport.
		p.observer.waits.failed(p, info, err)
	}
}
