package instrument_test

//lint:file-ignore SA1019 A policy has every method of what it stands for, those too that gRPC deprecated and calls.

import (
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/pickfirst"
	"google.golang.org/grpc/resolver"

	"github.com/redial-dev/redial/instrument"
)

// resolvers returns the options of a channel whose resolver is faulty at one call.
func resolvers(where at) channelOptions {
	return func(f *fault, to string, h *instrument.Handler) (string, []grpc.DialOption) {
		var b resolver.Builder = brokenResolvers{where, f, to}
		if h != nil {
			b = instrument.WrapResolver(b)
		}
		return "broken:///", []grpc.DialOption{insecureOption, grpc.WithNoProxy(), grpc.WithResolvers(b)}
	}
}

type brokenResolvers struct {
	at at
	f  *fault
	to string
}

func (brokenResolvers) Scheme() string { return "broken" }

func (b brokenResolvers) Build(
	_ resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions,
) (resolver.Resolver, error) {
	switch b.at {
	case ofBuild:
		_, err := b.f.occurs()
		return nil, err
	case ofAnswer:
		if _, err := b.f.occurs(); err != nil {
			cc.ReportError(err)
		} else {
			_ = cc.UpdateState(resolver.State{}) // gRPC does not take it.
		}
		return b, nil
	}
	return b, cc.UpdateState(endpoints(b.to))
}

func (b brokenResolvers) ResolveNow(resolver.ResolveNowOptions) {
	if b.at == ofAsking {
		_, _ = b.f.occurs()
	}
}

func (b brokenResolvers) Close() {
	if b.at == ofClosing {
		_, _ = b.f.occurs()
	}
}

// policies returns the options of a channel whose load balancing policy is faulty at one call.
func policies(where at) channelOptions {
	return func(f *fault, to string, h *instrument.Handler) (string, []grpc.DialOption) {
		brokenPolicy.Store(&brokenBalancer{at: where, f: f})
		name := "test_broken"
		if h != nil {
			name = "test_broken_wrapped"
		}
		return to, []grpc.DialOption{insecureOption,
			grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"` + name + `":{}}]}`)}
	}
}

// brokenPolicy is that of the test that runs.
var brokenPolicy atomic.Pointer[brokenBalancer]

func init() {
	balancer.Register(brokenBuilder{"test_broken"})
	balancer.Register(instrument.WrapBalancer(brokenBuilder{"test_broken_wrapped"}))
}

type brokenBuilder struct{ name string }

func (b brokenBuilder) Name() string { return b.name }

func (brokenBuilder) Build(cc balancer.ClientConn, opts balancer.BuildOptions) balancer.Balancer {
	p := brokenPolicy.Load()
	if p.at == ofBuild {
		_, _ = p.f.occurs()
		return nil
	}
	return balancer.Get(pickfirst.Name).Build(brokenBalancer{cc, p.at, p.f}, opts)
}

// brokenBalancer stands between pick_first and its channel.
type brokenBalancer struct {
	balancer.ClientConn
	at at
	f  *fault
}

func (b brokenBalancer) NewSubConn(
	addrs []resolver.Address, opts balancer.NewSubConnOptions,
) (balancer.SubConn, error) {
	sc, err := b.ClientConn.NewSubConn(addrs, opts)
	if b.at != ofText {
		return sc, err
	}
	return brokenSubConn{sc, b.f}, err
}

func (b brokenBalancer) UpdateState(s balancer.State) {
	inner := s.Picker
	switch b.at {
	case ofPicker:
		s.Picker = nil
		if _, err := b.f.occurs(); err != nil {
			s.Picker = pickerOf(func(balancer.PickInfo) (balancer.PickResult, error) { return balancer.PickResult{}, err })
		}
	case ofPick:
		s.Picker = pickerOf(func(balancer.PickInfo) (balancer.PickResult, error) {
			_, err := b.f.occurs()
			return balancer.PickResult{}, err
		})
	case ofText:
		s.Picker = pickerOf(func(info balancer.PickInfo) (balancer.PickResult, error) {
			r, err := inner.Pick(info)
			if sc, ok := r.SubConn.(brokenSubConn); ok {
				r.SubConn = sc.SubConn
			}
			return r, err
		})
	}
	b.ClientConn.UpdateState(s)
}

type pickerOf func(balancer.PickInfo) (balancer.PickResult, error)

func (p pickerOf) Pick(info balancer.PickInfo) (balancer.PickResult, error) { return p(info) }

type brokenSubConn struct {
	balancer.SubConn
	f *fault
}

func (s brokenSubConn) String() string {
	_, _ = s.f.occurs()
	return ""
}
