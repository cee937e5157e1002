package hooks

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

// Close implements [balancer.Balancer].
func (b *observedBalancer) Close() {
	b.policy.Guard().Run(b.policy.Closing)
	b.Balancer.Close()
	b.policy.Guard().Run(b.policy.Close)
}
