package hooks

//lint:file-ignore SA1019 A wrapper has every method of what it wraps, those too that gRPC deprecated and still calls.

import (
	"google.golang.org/grpc/balancer"

	"github.com/redial-dev/redial/instrument/internal/hooks/record"
)

// observedBalancer is a balancer whose end and updates are seen.
type observedBalancer struct {
	balancer.Balancer
	policy *record.Policy
}

// UpdateClientConnState implements [balancer.Balancer].
func (b *observedBalancer) UpdateClientConnState(s balancer.ClientConnState) error {
	b.policy.Guard().Run(func() { b.policy.SetAddresses(s.ResolverState) })
	return b.Balancer.UpdateClientConnState(s)
}

// ResolverError implements [balancer.Balancer].
func (b *observedBalancer) ResolverError(err error) {
	b.policy.Guard().Run(func() { b.policy.ResolverFailed(err) })
	b.Balancer.ResolverError(err)
}

// UpdateSubConnState implements [balancer.Balancer]. gRPC calls it for policies that gave their SubConns no listener.
func (b *observedBalancer) UpdateSubConnState(sc balancer.SubConn, state balancer.SubConnState) {
	b.policy.Guard().Run(func() {
		if s := b.policy.Observer().Subchannel(sc); s != nil {
			s.SetState(state)
		}
	})
	b.Balancer.UpdateSubConnState(sc, state)
}

// Close implements [balancer.Balancer].
func (b *observedBalancer) Close() {
	b.policy.Guard().Run(b.policy.Closing)
	b.Balancer.Close()
	b.policy.Guard().Run(b.policy.Close)
}
