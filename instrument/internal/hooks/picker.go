package hooks

import (
	"sync/atomic"

	"google.golang.org/grpc/balancer"

	"github.com/redial-dev/redial/instrument/internal/guard"
	"github.com/redial-dev/redial/instrument/internal/hooks/record"
)

// picker counts the RPCs on each transport, and records those that get none. A pick that succeeds allocates nothing,
// unless the policy itself wants to know when the RPC is done.
type picker struct {
	balancer.Picker
	policy *record.Policy
	// first is the subchannel picked first: pick_first picks no other. It is set once, so that RPCs of other subchannels,
	// where a policy picks among several, do not contend for it.
	first atomic.Pointer[record.Subchannel]
}

// Pick implements [balancer.Picker].
func (p *picker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	result, err := p.Picker.Pick(info)
	if err != nil {
		p.policy.Guard().Run(func() { p.policy.NotPicked(info, err) })
		return result, err
	}
	result.Done = guard.Value(p.policy.Guard(), result.Done, func() func(balancer.DoneInfo) {
		return p.picked(info, result.SubConn, result.Done)
	})
	return result, nil
}

// picked records an RPC on the SubConn's transport, and returns what gRPC must call when the RPC is done.
func (p *picker) picked(
	info balancer.PickInfo, sc balancer.SubConn, done func(balancer.DoneInfo),
) func(balancer.DoneInfo) {
	t := p.transport(sc)
	if p.policy.Observer().Following() {
		p.policy.Placed(info.Ctx, t)
	}
	if t == nil {
		return done
	}
	observed := t.RPCStarted()
	if done == nil {
		return observed
	}
	return func(info balancer.DoneInfo) {
		observed(info)
		done(info)
	}
}

func (p *picker) transport(sc balancer.SubConn) *record.Transport {
	s := p.first.Load()
	if s == nil || s.SubConn() != sc {
		found := p.policy.Observer().Subchannel(sc)
		if found == nil || found.Policy() != p.policy { // The picker of a child policy counts its own.
			return nil
		}
		if s == nil {
			p.first.Store(found)
		}
		s = found
	}
	return s.Transport()
}
