package hooks

//lint:file-ignore SA1019 A wrapper passes on all that gRPC still uses, what it deprecated too.

import (
	"regexp"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/resolver"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/lifecycle"
)

// subConn is the record of one balancer.SubConn.
type subConn struct {
	policy *policy
	// sc and life are set before gRPC connects.
	sc   balancer.SubConn
	life *lifecycle.Subchannel
	// shaken is the connection whose handshake is done and of which gRPC did not tell yet.
	shaken atomic.Pointer[shaken]
	// flight counts the RPCs on the transport that is up.
	flight atomic.Pointer[flight]
}

// addressKey is the key of the subConn among the attributes of a resolver.Address, from where it reaches the
// dialer and the handshake.
type addressKey struct{ observer *Observer }

// newSubConn returns nil where the subchannel is observed already, by the policy's own pick_first child.
func (p *policy) newSubConn(addrs []resolver.Address, opts balancer.NewSubConnOptions) *subConn {
	if p.life == nil || p.observer.closed.Load() || len(addrs) == 0 || observedBy(p.observer, opts.CredsBundle) {
		return nil
	}
	return &subConn{policy: p}
}

// tag returns the addresses with the subchannel among their attributes, if a dialer needs it.
func (s *subConn) tag(addrs []resolver.Address) []resolver.Address {
	if !s.policy.observer.dialing.Load() {
		return addrs
	}
	tagged := make([]resolver.Address, len(addrs))
	for i, a := range addrs {
		a.Attributes = a.Attributes.WithValue(addressKey{s.policy.observer}, s)
		tagged[i] = a
	}
	return tagged
}

// hook returns the options with the listener and the credentials observed.
func (s *subConn) hook(opts balancer.NewSubConnOptions) balancer.NewSubConnOptions {
	if listener := opts.StateListener; listener != nil {
		opts.StateListener = func(state balancer.SubConnState) {
			s.stateChange(state)
			listener(state)
		}
	}
	s.hookCredentials(&opts)
	return opts
}

// made tells that gRPC made the subchannel. It does not connect before its policy asks it to.
func (s *subConn) made(sc balancer.SubConn, addrs []resolver.Address) {
	s.policy.channel.do(func(at time.Time) {
		s.sc = sc
		s.life = s.policy.life.Add(at, channelzID(sc), addrs[0].Addr)
	})
	s.policy.keep(s)
}

var subConnID = regexp.MustCompile(`id:(\d+)`)

// channelzID reads the id that a SubConn's String tells, "SubConn(id:12)".
func channelzID(sc balancer.SubConn) int64 {
	named, ok := sc.(interface{ String() string })
	if !ok {
		return 0
	}
	digits := subConnID.FindStringSubmatch(named.String())
	if digits == nil {
		return 0
	}
	id, err := strconv.ParseInt(digits[1], 10, 64)
	if err != nil {
		return 0
	}
	return id
}

func (s *subConn) readdress(addrs []resolver.Address) {
	s.do(func(time.Time) {
		if len(addrs) > 0 {
			s.life.SetAddress(addrs[0].Addr)
		}
	})
}

// do runs an input on the subchannel's machine.
func (s *subConn) do(input func(at time.Time)) {
	s.policy.channel.do(func(at time.Time) {
		if s.life != nil {
			input(at)
		}
	})
}

// stateChange tells what gRPC delivered to the subchannel's listener.
func (s *subConn) stateChange(state balancer.SubConnState) {
	to := stateOf(state.ConnectivityState)
	s.do(func(at time.Time) { s.life.SetState(at, to, state.ConnectionError) })
	if to == event.StateIdle || to == event.StateTransientFailure || to == event.StateShutdown {
		s.policy.observer.conns.forget(s)
		if f := s.flight.Load(); f != nil {
			f.settle()
		}
	}
	if to == event.StateShutdown {
		s.policy.forget(s)
	}
}
