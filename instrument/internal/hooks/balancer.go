package hooks

//lint:file-ignore SA1019 A wrapper has every method of what it wraps, those too that gRPC deprecated and still calls.

import (
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/resolver"

	"github.com/redial-dev/redial/instrument/internal/lifecycle"
)

// WrapPickFirst returns a builder whose balancers are observed in the channels that have an observer: all their
// subchannels are ways to one endpoint.
func WrapPickFirst(inner balancer.Builder) balancer.Builder {
	return wrapBuilder(inner, (*lifecycle.Channel).OpenPickFirst)
}

// WrapPolicy is [WrapPickFirst] for a policy that makes a subchannel for each endpoint.
func WrapPolicy(inner balancer.Builder) balancer.Builder {
	return wrapBuilder(inner, (*lifecycle.Channel).OpenPolicy)
}

func wrapBuilder(inner balancer.Builder, open func(*lifecycle.Channel) *lifecycle.Policy) balancer.Builder {
	b := &builder{Builder: inner, open: open}
	if parser, ok := inner.(balancer.ConfigParser); ok {
		return struct {
			*builder
			balancer.ConfigParser
		}{b, parser}
	}
	return b
}

type builder struct {
	balancer.Builder
	open func(*lifecycle.Channel) *lifecycle.Policy
}

func (b *builder) Build(cc balancer.ClientConn, opts balancer.BuildOptions) balancer.Balancer {
	var policies []*policy
	for _, o := range observing(cc.MetricsRecorder()) {
		if p := o.observe(cc, opts, b.open); p != nil {
			policies = append(policies, p)
			cc = p
		}
	}
	bal := b.Builder.Build(cc, opts)
	for _, p := range policies {
		bal = &observed{Balancer: bal, policy: p}
	}
	return bal
}

// observe makes the record of a new balancer, or returns nil after a fault.
func (o *Observer) observe(cc balancer.ClientConn, opts balancer.BuildOptions, open func(*lifecycle.Channel) *lifecycle.Policy) (p *policy) {
	defer o.recovered()
	ch := o.channel(cc.MetricsRecorder(), opts.Target.String())
	ch.identify(opts)
	made := &policy{ClientConn: cc, observer: o, channel: ch, dialCreds: opts.DialCreds, credsBundle: opts.CredsBundle}
	ch.do(func(time.Time) {
		made.life = open(ch.life)
		ch.policies = append(ch.policies, made)
	})
	if made.life == nil {
		return nil
	}
	return made
}

// policy stands between a balancer and its ClientConn.
type policy struct {
	balancer.ClientConn
	observer *Observer
	channel  *channel
	life     *lifecycle.Policy
	// The channel's credentials: one of them is set.
	dialCreds   credentials.TransportCredentials
	credsBundle credentials.Bundle

	mu       sync.Mutex // Guards what follows.
	failed   bool
	closed   bool
	subConns []*subConn // Those that are not shut down.
}

// NewSubConn implements [balancer.ClientConn].
func (p *policy) NewSubConn(addrs []resolver.Address, opts balancer.NewSubConnOptions) (balancer.SubConn, error) {
	s := p.newSubConn(addrs, opts)
	if s == nil {
		return p.ClientConn.NewSubConn(addrs, opts)
	}
	sc, err := p.ClientConn.NewSubConn(s.tag(addrs), s.hook(opts))
	if err == nil {
		s.made(sc, addrs)
	}
	return sc, err
}

// UpdateAddresses implements [balancer.ClientConn].
func (p *policy) UpdateAddresses(sc balancer.SubConn, addrs []resolver.Address) {
	if s := p.find(sc); s != nil {
		s.readdress(addrs)
		addrs = s.tag(addrs)
	}
	p.ClientConn.UpdateAddresses(sc, addrs)
}

// UpdateState implements [balancer.ClientConn].
func (p *policy) UpdateState(s balancer.State) {
	p.channel.do(func(at time.Time) { p.life.SetState(at, stateOf(s.ConnectivityState)) })
	p.setFailed(s.ConnectivityState == connectivity.TransientFailure)
	if s.Picker != nil && !p.observer.closed.Load() {
		s.Picker = &picker{Picker: s.Picker, policy: p}
	}
	p.ClientConn.UpdateState(s)
	p.channel.do(func(time.Time) {})
}

func (p *policy) setFailed(failed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.failed == failed {
		return
	}
	p.failed = failed
	if failed {
		p.observer.failing.Add(1)
	} else {
		p.observer.failing.Add(-1)
	}
}

func (p *policy) close() {
	p.setFailed(false)
	p.mu.Lock()
	p.closed = true
	for _, s := range p.subConns { // They may never say SHUTDOWN.
		p.observer.subConns.Delete(s.sc)
	}
	p.subConns = nil
	p.mu.Unlock()
	p.channel.do(func(at time.Time) {
		ch := p.channel
		ch.poll(at)
		ch.closePolicy(at, p.life)
		ch.policies = slices.DeleteFunc(ch.policies, func(other *policy) bool { return other == p })
	})
	p.observer.forgetIfFinished(p.channel)
}

func (p *policy) keep(s *subConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.subConns = append(p.subConns, s)
	p.observer.subConns.Store(s.sc, s)
}

func (p *policy) forget(s *subConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.subConns = slices.DeleteFunc(p.subConns, func(other *subConn) bool { return other == s })
	p.observer.subConns.Delete(s.sc)
}

func (p *policy) all() []*subConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.subConns)
}

func (p *policy) find(sc balancer.SubConn) *subConn {
	if s, ok := p.observer.subConns.Load(sc); ok {
		return s.(*subConn)
	}
	return nil
}

// observed is a balancer whose end and updates are seen.
type observed struct {
	balancer.Balancer
	policy *policy
}

// UpdateClientConnState implements [balancer.Balancer]. It tells of a resolver that is not wrapped. Only what comes
// from the channel itself has Addresses: policies hand on Endpoints to their children.
func (b *observed) UpdateClientConnState(s balancer.ClientConnState) error {
	if len(s.ResolverState.Addresses) > 0 {
		b.policy.unwrappedAnswer(s.ResolverState, nil)
	}
	addresses := addressesOf(s.ResolverState)
	b.policy.channel.do(func(time.Time) { b.policy.life.SetAddresses(addresses) })
	b.policy.observer.sampler.leaving(b.policy, addresses...)
	return b.Balancer.UpdateClientConnState(s)
}

// ResolverError implements [balancer.Balancer].
func (b *observed) ResolverError(err error) {
	b.policy.unwrappedAnswer(resolver.State{}, err)
	b.Balancer.ResolverError(err)
}

// Close implements [balancer.Balancer].
func (b *observed) Close() {
	b.policy.observer.sampler.leaving(b.policy)
	b.Balancer.Close()
	b.policy.close()
}
