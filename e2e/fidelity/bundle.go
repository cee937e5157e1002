package fidelity

//lint:file-ignore SA1019 Policies still give a SubConn several addresses.

import (
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/base"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"

	"github.com/redial-dev/redial/instrument"
)

// bundle is a policy that makes one subchannel of all addresses, as policies of users do.
type bundle struct {
	cc  balancer.ClientConn
	sub balancer.SubConn // Nil before the first answer.
}

const bundleName = "chaos_bundle"

type bundleBuilder struct{}

func init() { balancer.Register(instrument.WrapBalancer(bundleBuilder{})) }

func (bundleBuilder) Name() string { return bundleName }

func (bundleBuilder) Build(cc balancer.ClientConn, _ balancer.BuildOptions) balancer.Balancer {
	return &bundle{cc: cc}
}

// UpdateClientConnState implements [balancer.Balancer]: a new subchannel takes the place of the one before.
func (b *bundle) UpdateClientConnState(s balancer.ClientConnState) error {
	var all []resolver.Address
	for _, e := range s.ResolverState.Endpoints {
		all = append(all, e.Addresses...)
	}
	var sub balancer.SubConn
	sub, err := b.cc.NewSubConn(all, balancer.NewSubConnOptions{
		StateListener: func(state balancer.SubConnState) { b.changed(sub, state) },
	})
	if err != nil {
		return err
	}
	if b.sub != nil {
		b.sub.Shutdown()
	}
	b.sub = sub
	b.cc.UpdateState(balancer.State{
		ConnectivityState: connectivity.Connecting, Picker: base.NewErrPicker(balancer.ErrNoSubConnAvailable),
	})
	sub.Connect()
	return nil
}

func (b *bundle) changed(sub balancer.SubConn, state balancer.SubConnState) {
	if sub != b.sub {
		return
	}
	next := balancer.State{ConnectivityState: state.ConnectivityState}
	switch state.ConnectivityState {
	case connectivity.Ready:
		next.Picker = only{sub}
	case connectivity.TransientFailure:
		next.Picker = base.NewErrPicker(state.ConnectionError)
	case connectivity.Idle:
		sub.Connect()
		fallthrough
	default:
		next.Picker = base.NewErrPicker(balancer.ErrNoSubConnAvailable)
	}
	b.cc.UpdateState(next)
}

// only picks the one subchannel.
type only struct{ sub balancer.SubConn }

// Pick implements [balancer.Picker].
func (p only) Pick(balancer.PickInfo) (balancer.PickResult, error) {
	return balancer.PickResult{SubConn: p.sub}, nil
}

// ResolverError implements [balancer.Balancer].
func (*bundle) ResolverError(error) {}

// UpdateSubConnState implements [balancer.Balancer]. The listener has its place.
func (*bundle) UpdateSubConnState(balancer.SubConn, balancer.SubConnState) {}

// ExitIdle implements [balancer.Balancer].
func (b *bundle) ExitIdle() {
	if b.sub != nil {
		b.sub.Connect()
	}
}

// Close implements [balancer.Balancer].
func (*bundle) Close() {}
