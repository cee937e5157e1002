package hooks

//lint:file-ignore SA1019 A wrapper passes on all that gRPC still uses, what it deprecated too.

import (
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/resolver"

	"github.com/redial-dev/redial/instrument/internal/hooks/record"
)

// newSubConn is what a SubConn is made with.
type newSubConn struct {
	subchannel *record.Subchannel // Nil where it is not observed.
	addrs      []resolver.Address
	opts       balancer.NewSubConnOptions
}

// hookSubConn makes that a new SubConn's states, dials and handshakes are seen, unless they are already, by the
// policy's own pick_first child.
func (p *policyConn) hookSubConn(addrs []resolver.Address, opts balancer.NewSubConnOptions) newSubConn {
	if len(addrs) == 0 || observedBy(p.policy.Observer(), opts.CredsBundle) {
		return newSubConn{addrs: addrs, opts: opts}
	}
	s := p.policy.NewSubchannel()
	if listener := opts.StateListener; listener != nil {
		opts.StateListener = func(state balancer.SubConnState) {
			s.Policy().Guard().Run(func() { s.SetState(state) })
			listener(state)
		}
	}
	p.hookCredentials(s, &opts)
	return newSubConn{s, tag(s, addrs), opts}
}

// addressKey is the key of the subchannel's record among the attributes of a resolver.Address, from where it reaches
// the dialer.
type addressKey struct{ observer *record.Observer }

// tag returns the addresses with the subchannel's record among their attributes, if a dialer needs it.
func tag(s *record.Subchannel, addrs []resolver.Address) []resolver.Address {
	observer := s.Policy().Observer()
	if !observer.DialsExpected() {
		return addrs
	}
	tagged := make([]resolver.Address, len(addrs))
	for i, a := range addrs {
		a.Attributes = a.Attributes.WithValue(addressKey{observer}, s)
		tagged[i] = a
	}
	return tagged
}
