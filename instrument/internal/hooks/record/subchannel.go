package record

import (
	"net"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/resolver"

	"github.com/redial-dev/redial/instrument/internal/hooks/grpcinternals"
	"github.com/redial-dev/redial/instrument/internal/hooks/table"
	"github.com/redial-dev/redial/instrument/internal/lifecycle"
)

// Subchannel is the record of one balancer.SubConn.
type Subchannel struct {
	policy *Policy
	// subConn and machine are set before gRPC connects.
	subConn balancer.SubConn
	machine *lifecycle.Subchannel
	// several are the addresses where there is more than one, else nil: it takes less memory so.
	several *[]resolver.Address
	// transport is the one that is up.
	transport atomic.Pointer[Transport]
}

// NewSubchannel returns a record for a SubConn that gRPC is about to make.
func (p *Policy) NewSubchannel() *Subchannel { return &Subchannel{policy: p} }

// Policy returns the policy that made the subchannel.
func (s *Subchannel) Policy() *Policy { return s.policy }

// SubConn returns what the record is of.
func (s *Subchannel) SubConn() balancer.SubConn { return s.subConn }

// Transport returns the transport that is up, or nil.
func (s *Subchannel) Transport() *Transport { return s.transport.Load() }

// withLock runs an input on the subchannel's machine.
func (s *Subchannel) withLock(input func(at time.Time)) {
	s.policy.channel.withLock(func(at time.Time) {
		if s.machine != nil {
			input(at)
		}
	})
}

// Made records that gRPC made the SubConn. It does not connect before its policy asks it to.
func (s *Subchannel) Made(sc balancer.SubConn, addrs []resolver.Address) {
	id, grpcsOwn := grpcinternals.SubConnID(sc)
	s.policy.Observer().holds(grpcinternals.SubConnNames, id != 0 || !grpcsOwn)
	s.policy.channel.withLock(func(at time.Time) {
		s.subConn = sc
		s.machine = s.policy.machine.Add(at, id, s.describe(addrs)...)
	})
	s.policy.keep(s)
}

// SetAddresses records that the policy gave the subchannel other addresses.
func (s *Subchannel) SetAddresses(addrs []resolver.Address) {
	s.withLock(func(time.Time) {
		if len(addrs) > 0 {
			s.machine.SetAddresses(s.describe(addrs)...)
		}
	})
}

// describe returns what the lifecycle knows of addresses, and keeps them if they are several.
func (s *Subchannel) describe(addrs []resolver.Address) []lifecycle.Address {
	s.several = nil
	if len(addrs) > 1 {
		all := slices.Clone(addrs)
		s.several = &all
	}
	described := make([]lifecycle.Address, len(addrs))
	for i, a := range addrs {
		described[i] = s.policy.Observer().describeAddress(a)
	}
	return described
}

// which returns the one of several addresses that a connection leads to, or zero if it is not known which. gRPC hands
// the attributes of the address on to who dials or secures the connection.
func (s *Subchannel) which(with *attributes.Attributes, remote string) lifecycle.Address {
	if found := s.only(func(a resolver.Address) bool { return with != nil && a.Attributes == with }); found != nil {
		return s.policy.Observer().describeAddress(*found)
	}
	if found := s.only(func(a resolver.Address) bool { return a.Addr == remote }); found != nil {
		return s.policy.Observer().describeAddress(*found)
	}
	return lifecycle.Address{}
}

// only returns the one of several addresses that matches, or nil if it is not one.
func (s *Subchannel) only(matches func(resolver.Address) bool) (found *resolver.Address) {
	if s.several == nil {
		return nil
	}
	for i, a := range *s.several {
		switch {
		case !matches(a):
		case found != nil:
			return nil
		default:
			found = &(*s.several)[i]
		}
	}
	return found
}

// SetState records what gRPC delivered to the subchannel's listener.
func (s *Subchannel) SetState(state balancer.SubConnState) {
	to := state.ConnectivityState
	s.withLock(func(at time.Time) { s.machine.SetState(at, stateOf(to), state.ConnectionError) })
	if o := s.policy.Observer(); to == connectivity.Ready && s.transport.Load() == nil {
		o.holds(grpcinternals.Connections, !o.connections.Has(s))
	}
	if to == connectivity.Idle || to == connectivity.TransientFailure || to == connectivity.Shutdown {
		s.forgetConnection(to)
		if t := s.transport.Load(); t != nil {
			t.settle()
		}
	}
	if to == connectivity.Shutdown {
		s.policy.forget(s)
	}
}

// forgetConnection forgets a pending connection, which does not become a transport. gRPC may be about to report the
// begin of one whose subchannel is shut down.
func (s *Subchannel) forgetConnection(to connectivity.State) {
	o := s.policy.Observer()
	if to == connectivity.Shutdown && o.connections.Has(s) {
		o.delayed.Add(func() { o.connections.Remove(s) })
		return
	}
	o.connections.Remove(s)
}

// DialStarted records that the dialer is called, for the address that has these attributes.
func (s *Subchannel) DialStarted(with *attributes.Attributes, address string) {
	s.withLock(func(at time.Time) {
		s.machine.DialStart(at)
		s.machine.ConnectsTo(s.which(with, address))
	})
}

// DialProxied records that the dialer goes through a proxy.
func (s *Subchannel) DialProxied(proxy string) {
	s.withLock(func(time.Time) { s.machine.DialProxied(proxy) })
}

// DialAttempted records that the dialer tries an address.
func (s *Subchannel) DialAttempted(address string) {
	s.withLock(func(at time.Time) { s.machine.DialAttempt(at, address) })
}

// DialEnded records what the dialer returned.
func (s *Subchannel) DialEnded(conn net.Conn, err error) {
	described := s.policy.Observer().describeConn(conn)
	s.withLock(func(at time.Time) { s.machine.DialEnd(at, described, err) })
}

// HandshakeStarted records that the handshake on a connection to the address that has these attributes begins. gRPC
// gives it up at the deadline, if that is not zero.
func (s *Subchannel) HandshakeStarted(with *attributes.Attributes, raw net.Conn, deadline time.Time) {
	conn := s.policy.Observer().describeConn(raw)
	s.withLock(func(at time.Time) {
		s.machine.HandshakeStart(at, conn, deadline)
		s.machine.ConnectsTo(s.which(with, conn.Remote))
	})
}

// HandshakeEnded records how the handshake went. conn is what came out of it. It must be called by the goroutine that
// did the handshake.
func (s *Subchannel) HandshakeEnded(conn, raw net.Conn, info credentials.AuthInfo, err error) {
	s.withLock(func(at time.Time) { s.machine.HandshakeEnd(at, describeTLS(info), err) })
	if err != nil {
		return
	}
	local := conn.LocalAddr()
	o, key := s.policy.Observer(), pendingKey(local, raw)
	if o.holds(grpcinternals.Goroutines, key != table.Key{}) {
		o.connections.Add(&table.Connection[*Subchannel]{Owner: s, Key: key, Raw: raw, Secured: conn})
	}
}

// pendingKey returns what a connection is found by when gRPC reports its begin. The connections of the standard
// library have an address of their own each; others may share theirs.
func pendingKey(local net.Addr, raw net.Conn) (key table.Key) {
	switch raw.(type) {
	case *net.TCPConn, *net.UnixConn:
		if local != nil && local == raw.LocalAddr() {
			key.LocalAddr = local
			return key
		}
	}
	key.Goroutine = grpcinternals.Own()
	return key
}
