package hooks

//lint:file-ignore SA1019 A wrapper has every method of what it wraps, those too that gRPC deprecated and still calls.

import (
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/resolver"

	"github.com/redial-dev/redial/instrument/internal/guard"
	"github.com/redial-dev/redial/instrument/internal/hooks/record"
)

// policyConn stands between a balancer and its ClientConn.
type policyConn struct {
	balancer.ClientConn
	policy *record.Policy
	// The channel's credentials: one of them is set.
	dialCreds   credentials.TransportCredentials
	credsBundle credentials.Bundle
}

// NewSubConn implements [balancer.ClientConn].
func (p *policyConn) NewSubConn(addrs []resolver.Address, opts balancer.NewSubConnOptions) (balancer.SubConn, error) {
	hooked := guard.Value(p.policy.Guard(), newSubConn{addrs: addrs, opts: opts}, func() newSubConn {
		return p.hookSubConn(addrs, opts)
	})
	sc, err := p.ClientConn.NewSubConn(hooked.addrs, hooked.opts)
	if s := hooked.subchannel; s != nil && err == nil {
		p.policy.Guard().Run(func() { s.Made(sc, hooked.addrs) })
	}
	return sc, err
}

// UpdateAddresses implements [balancer.ClientConn].
func (p *policyConn) UpdateAddresses(sc balancer.SubConn, addrs []resolver.Address) {
	addrs = guard.Value(p.policy.Guard(), addrs, func() []resolver.Address {
		s := p.policy.Observer().Subchannel(sc)
		if s == nil {
			return addrs
		}
		tagged := tag(s, addrs)
		s.SetAddresses(tagged)
		return tagged
	})
	p.ClientConn.UpdateAddresses(sc, addrs)
}

// UpdateState implements [balancer.ClientConn].
func (p *policyConn) UpdateState(s balancer.State) {
	s.Picker = guard.Value(p.policy.Guard(), s.Picker, func() balancer.Picker {
		p.policy.SetState(s)
		if s.Picker == nil {
			return nil
		}
		return &picker{Picker: s.Picker, policy: p.policy}
	})
	p.ClientConn.UpdateState(s)
	p.policy.Guard().Run(p.policy.Reported)
}
