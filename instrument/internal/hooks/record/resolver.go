package record

import (
	"sync"
	"time"

	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"

	"github.com/redial-dev/redial/instrument/internal/failure"
	"github.com/redial-dev/redial/instrument/internal/guard"
	"github.com/redial-dev/redial/instrument/internal/hooks/grpcinternals"
	"github.com/redial-dev/redial/instrument/internal/lifecycle"
)

// Resolver is the record of a channel's name resolver.
type Resolver struct {
	channel *Channel
	machine *lifecycle.Resolver
	closing sync.Once
}

// paces are those of gRPC's own resolvers that answer more than once.
var paces = map[string]lifecycle.Pace{"dns": lifecycle.PaceThrottled, "xds": lifecycle.PaceOwn}

// OpenResolver makes the record of a new resolver of a scheme, which begins to resolve, or returns nil after a fault.
// conn is what gRPC gave to its builder.
func (c *Channel) OpenResolver(scheme string, conn resolver.ClientConn) *Resolver {
	z, grpcsOwn := grpcinternals.ChannelzOf(conn)
	if state, known := z.State(); known && state == connectivity.Idle { // gRPC leaves IDLE before it builds a resolver.
		z = z.WithoutState()
	}
	if !c.identify(z, grpcsOwn) {
		return nil
	}
	r := &Resolver{channel: c}
	c.withLock(func(at time.Time) {
		r.machine = c.machine.OpenResolver(paces[scheme])
		r.machine.Asked(at)
		c.opened, c.resolved = true, true
		c.resolvers++
	})
	if r.machine == nil {
		return nil
	}
	c.observer.roller.start()
	return r
}

// Guard returns what every hook runs in.
func (r *Resolver) Guard() *guard.Guard { return r.channel.observer.guard }

// Asked records that gRPC asks the resolver to resolve again.
func (r *Resolver) Asked() {
	r.channel.withLock(func(at time.Time) { r.machine.Asked(at) })
}

// Answered records an answer: addresses, or an error. It is reported once the channel's id is known, which is while
// gRPC takes the answer; [Resolver.Taken] must be called after that.
func (r *Resolver) Answered(s resolver.State, err error) {
	addresses := r.channel.observer.addressesOf(s)
	if err == nil {
		err = emptiness(s, addresses)
	}
	r.channel.whenIdentified(func(at time.Time) { r.machine.Answered(at, addresses, err) })
}

// emptiness returns the failure of an answer without addresses. One with attributes may give the addresses by these, as
// those of xds do.
func emptiness(s resolver.State, addresses []string) error {
	if len(addresses) == 0 && s.Attributes == nil {
		return failure.ErrNoAddresses
	}
	return nil
}

// Taken records that gRPC took the answer, or its error if it did not.
func (r *Resolver) Taken(err error) {
	r.channel.withLock(func(time.Time) {
		r.channel.runDeferred()
		if err != nil {
			r.machine.Rejected()
		}
	})
}

// Failed records that the resolver could not be built.
func (r *Resolver) Failed() {
	r.channel.withLock(func(time.Time) { r.channel.resolved = false })
	r.Close()
}

// Close records that the resolver is closed.
func (r *Resolver) Close() {
	r.closing.Do(func() {
		r.channel.withLock(func(at time.Time) {
			r.channel.runDeferred()
			r.machine.Close(at)
			r.channel.resolvers--
		})
		r.channel.left()
	})
}
