package instrument_test

import (
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
)

// The resolver takes away the address that is connected to, and gives another.
func TestAddressRemoved(t *testing.T) {
	env := newEnvironment(t)
	one, two := env.serve("S1"), env.serve("S2")
	r, option := addresses(one.address)
	cc := env.dial("static:///moving", option)
	env.connect(cc)
	r.UpdateState(endpoints(two.address))
	awaitKind[event.TransportReady](env, 2)
	env.gone()
	env.golden()
}

// One of two endpoints of round_robin is taken away.
func TestEndpointRemoved(t *testing.T) {
	env := newEnvironment(t)
	one, two := env.serve("S1"), env.serve("S2")
	r, option := addresses(one.address, two.address)
	cc := env.dial("static:///fewer", option, grpc.WithDefaultServiceConfig(roundRobin))
	env.connect(cc)
	awaitKind[event.TransportReady](env, 2)
	r.UpdateState(endpoints(one.address))
	env.gone()
	env.golden()
}

// unwrapped is addresses with a resolver that redial does not see.
func unwrapped(all ...string) (*manual.Resolver, grpc.DialOption) {
	r := manual.NewBuilderWithScheme("unwrapped")
	r.InitialState(endpoints(all...))
	return r, grpc.WithResolvers(r)
}

// causesOf returns why the transports to an address ended.
func (env *environment) causesOf(address string) (causes []event.Cause) {
	for _, e := range env.recorded() {
		if e, ok := e.(event.TransportEnded); ok && e.Conn.Remote == address {
			causes = append(causes, e.Cause)
		}
	}
	return causes
}

// Redial took the loss of an endpoint for the policy's wish where a resolver gave the addresses that is not wrapped:
// the children of round_robin see their own address and no other.
func TestEndpointRemovedByUnwrappedResolver(t *testing.T) {
	for name, staying := range map[string]bool{"OneOfTwo": true, "All": false} {
		t.Run(name, func(t *testing.T) {
			env := newEnvironment(t)
			gone, other := env.serve("S1").address, env.serve("S2").address
			first := []string{gone}
			if staying {
				first = append(first, other)
			}
			r, option := unwrapped(first...)
			cc := env.dial("unwrapped:///fewer", option, grpc.WithDefaultServiceConfig(roundRobin))
			env.connect(cc)
			awaitKind[event.TransportReady](env, len(first))
			r.UpdateState(endpoints(other))
			env.gone()
			if causes := env.causesOf(gone); !slices.Equal(causes, []event.Cause{event.CauseAddressRemoved}) {
				t.Errorf("the transport to the address that was removed ended by %v, want address_removed", causes)
			}
			env.closeAll()
			env.shutdown()
		})
	}
}

// Another policy takes over the addresses that a resolver gave that is not wrapped: none was removed.
func TestPolicyReplacedBelowUnwrappedResolver(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	r, option := unwrapped(srv.address)
	cc := env.dial("unwrapped:///replaced", option, grpc.WithDefaultServiceConfig(roundRobin))
	env.connect(cc)
	state := endpoints(srv.address)
	state.ServiceConfig = r.CC().ParseServiceConfig(`{"loadBalancingConfig": [{"pick_first": {}}]}`)
	r.UpdateState(state)
	awaitKind[event.TransportReady](env, 2)
	env.gone()
	if causes := env.causesOf(srv.address); !slices.Equal(causes, []event.Cause{event.CauseLBPolicy}) {
		t.Errorf("the replaced policy's transport ended by %v, want lb_policy", causes)
	}
	env.closeAll()
	env.shutdown()
}

// An answer without addresses was a resolution that succeeded, and what it took away the policy's wish.
func TestNoAddresses(t *testing.T) {
	for name, of := range map[string]struct {
		resolver func(...string) (*manual.Resolver, grpc.DialOption)
		policy   string
		seen     bool
		cause    event.Cause
	}{
		"PickFirst":           {addresses, "pick_first", true, event.CauseAddressRemoved},
		"RoundRobin":          {addresses, "round_robin", true, event.CauseAddressRemoved},
		"PickFirstUnwrapped":  {unwrapped, "pick_first", true, event.CauseAddressRemoved},
		"RoundRobinUnwrapped": {unwrapped, "round_robin", false, event.CauseUnknown}, // It closes all that redial sees.
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnvironment(t)
			srv := env.serve("S1")
			r, option := of.resolver(srv.address)
			cc := env.dial(r.Scheme()+":///none", option,
				grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"`+of.policy+`": {}}]}`))
			env.connect(cc)
			r.UpdateState(resolver.State{})
			env.gone()
			if err := call(cc); status.Code(err) != codes.Unavailable {
				t.Errorf("an RPC to nobody: %v", err)
			}
			env.closeAll()
			env.shutdown()
			if causes := env.causesOf(srv.address); !slices.Equal(causes, []event.Cause{of.cause}) {
				t.Errorf("the transport ended by %v, want %v", causes, of.cause)
			}
			var failed, refused []string
			for _, e := range env.recorded() {
				switch e := e.(type) {
				case event.Resolved:
					if e.Outcome == event.OutcomeFailed {
						failed = append(failed, e.ErrorType)
					}
				case event.RPCRefused:
					refused = append(refused, e.ErrorType)
				}
			}
			want := []string{failure.NameResolution}
			if of.seen && !slices.Equal(failed, want) {
				t.Errorf("resolutions failed by %q, want %q", failed, want)
			}
			if of.seen && !slices.Equal(refused, want) {
				t.Errorf("RPCs were refused for %q, want %q", refused, want)
			}
		})
	}
}

// A new service config replaces the policy.
func TestPolicyReplaced(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	r, option := addresses(srv.address)
	cc := env.dial("static:///replaced", option)
	env.connect(cc)
	state := endpoints(srv.address)
	state.ServiceConfig = r.CC().ParseServiceConfig(roundRobin)
	r.UpdateState(state)
	awaitKind[event.TransportReady](env, 2)
	env.gone()
	env.golden()
}
