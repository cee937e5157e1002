package record

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"

	"github.com/redial-dev/redial/instrument/internal/guard"
	"github.com/redial-dev/redial/instrument/internal/hooks/grpcinternals"
	"github.com/redial-dev/redial/instrument/internal/lifecycle"
)

// Kind is how a policy uses its subchannels.
type Kind func(*lifecycle.Channel) *lifecycle.Policy

var (
	// PickFirst makes subchannels that are all ways to one endpoint.
	PickFirst Kind = (*lifecycle.Channel).OpenPickFirst
	// EndpointEach makes a subchannel for each endpoint.
	EndpointEach Kind = (*lifecycle.Channel).OpenPolicy
)

// Policy is the record of one instance of a load balancing policy that makes subchannels.
type Policy struct {
	channel *Channel
	machine *lifecycle.Policy

	wasReady bool // It reported READY once. The channel guards it.

	mu          sync.Mutex // Guards what follows.
	closed      bool
	subchannels []*Subchannel // Those that are not shut down.
}

// OpenPolicy makes the record of a new policy, or returns nil after a fault. channelzParent is that of the policy's
// balancer.BuildOptions.
func (c *Channel) OpenPolicy(kind Kind, channelzParent any) *Policy {
	if !c.identify(grpcinternals.ReadChannelz(channelzParent), channelzParent != nil) {
		return nil
	}
	c.withLock(func(time.Time) { c.runDeferred() }) // The id stays unknown where gRPC does not give it.
	p := &Policy{channel: c}
	c.withLock(func(time.Time) {
		c.opened = true
		p.machine = kind(c.machine)
		c.policies = append(c.policies, p)
	})
	if p.machine == nil {
		return nil
	}
	return p
}

// Observer returns who observes the policy.
func (p *Policy) Observer() *Observer { return p.channel.observer }

// Guard returns what every hook runs in.
func (p *Policy) Guard() *guard.Guard { return p.channel.observer.guard }

// SetState records the state that the policy reports.
func (p *Policy) SetState(s balancer.State) {
	err := p.unhealthy(s)
	p.channel.withLock(func(at time.Time) {
		p.wasReady = p.wasReady || s.ConnectivityState == connectivity.Ready
		p.machine.SetState(at, stateOf(s.ConnectivityState), err)
	})
}

// unhealthy returns the error with which a pick_first that has a READY transport fails RPCs, or nil if it does not. Its
// picker is gRPC's own, and gives each RPC the same error.
func (p *Policy) unhealthy(s balancer.State) (err error) {
	if s.ConnectivityState != connectivity.TransientFailure || s.Picker == nil {
		return nil
	}
	up := false
	p.channel.withLock(func(time.Time) { up = p.machine.Up() })
	if up {
		_, err = s.Picker.Pick(balancer.PickInfo{Ctx: context.Background()})
	}
	return err
}

// Reported records that the channel has taken over what the policy reported.
func (p *Policy) Reported() { p.channel.withLock(func(time.Time) {}) }

// SetAddresses records what the policy is given now. Only what comes from the channel itself has Addresses, or nothing
// at all: policies hand on Endpoints to their children. It stands for the answer of a resolver that is not wrapped.
func (p *Policy) SetAddresses(s resolver.State) {
	addresses := p.Observer().addressesOf(s)
	if err := emptiness(s, addresses); err != nil || len(s.Addresses) > 0 {
		p.unwrappedAnswer(addresses, err)
	}
	p.channel.withLock(func(time.Time) { p.machine.SetAddresses(addresses) })
	p.Observer().sampler.leaving(p, addresses...)
}

// ResolverFailed records the error of a resolver that is not wrapped.
func (p *Policy) ResolverFailed(err error) { p.unwrappedAnswer(nil, err) }

// unwrappedAnswer records an answer that only the balancers saw. An error reaches all of them: one records it.
func (p *Policy) unwrappedAnswer(addresses []string, err error) {
	ch := p.channel
	ch.withLock(func(at time.Time) {
		if ch.resolvers == 0 && ch.policies[0] == p {
			ch.machine.OpenResolver(lifecycle.PaceAsked).Answered(at, addresses, err)
		}
	})
}

// Closing records that the policy is about to close its transports.
func (p *Policy) Closing() { p.Observer().sampler.leaving(p) }

// Close records that the policy is closed.
func (p *Policy) Close() {
	p.mu.Lock()
	p.closed = true
	subchannels := p.subchannels
	for _, s := range subchannels { // gRPC may never report their SHUTDOWN.
		p.Observer().subchannels.Delete(s.subConn)
	}
	p.subchannels = nil
	p.mu.Unlock()
	ch := p.channel
	ch.withLock(func(at time.Time) {
		ch.closePolicy(at, p.machine, p.wasReady)
		ch.policies = slices.DeleteFunc(ch.policies, func(other *Policy) bool { return other == p })
	})
	for _, s := range subchannels { // Nor what became of a transport that it closed before.
		if t := s.transport.Load(); t != nil {
			t.settle()
		}
	}
	ch.left()
}

// Subchannel returns the record of a SubConn, or nil if it has none.
func (o *Observer) Subchannel(sc balancer.SubConn) *Subchannel {
	if s, ok := o.subchannels.Load(sc); ok {
		return s.(*Subchannel)
	}
	return nil
}

func (p *Policy) keep(s *Subchannel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.subchannels = append(p.subchannels, s)
	p.Observer().subchannels.Store(s.subConn, s)
}

func (p *Policy) forget(s *Subchannel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.subchannels = slices.DeleteFunc(p.subchannels, func(other *Subchannel) bool { return other == s })
	p.Observer().subchannels.Delete(s.subConn)
}

func (p *Policy) all() []*Subchannel {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.subchannels)
}

func (o *Observer) addressesOf(s resolver.State) (all []string) {
	for _, e := range s.Endpoints {
		for _, a := range e.Addresses {
			all = append(all, o.describeAddress(a).Server)
		}
	}
	if len(s.Endpoints) > 0 {
		return all
	}
	for _, a := range s.Addresses {
		all = append(all, o.describeAddress(a).Server)
	}
	return all
}
