package lifecycle

import (
	"slices"

	"github.com/redial-dev/redial/instrument/event"
)

// updates is the evidence by which a policy that is closed while its channel lives on is known to have lost its
// address: a parent policy hands each update on to all its children, and then closes those of which it says nothing.
type updates struct {
	// round is the number of the update that a policy was last given, and for a channel that of the newest.
	round int
	// over is whether a channel's newest update is over: gRPC delivers the states of subchannels between two updates.
	over bool
}

// give counts an update of one of the channel's policies. One that the policy has had already is the next one.
func (of *updates) give(to *updates) {
	if of.over || to.round == of.round {
		of.round++
		of.over = false
	}
	to.round = of.round
}

// SetAddresses reports the addresses that the policy is given now. A pick_first shuts down its subchannels to others,
// whose SHUTDOWN may still be on its way.
func (p *Policy) SetAddresses(addresses []string) {
	p.ch.updates.give(&p.updates)
	p.addresses = slices.Clone(addresses)
	if p.own == nil {
		return
	}
	for _, s := range p.own.subchannels {
		if !slices.Contains(addresses, s.Server) {
			s.role = removed
		}
	}
}

// gives reports whether an open policy other than this was last given an address.
func (c *Channel) gives(address string, but *Policy) bool {
	for _, p := range c.policies {
		if p != but && slices.Contains(p.addresses, address) {
			return true
		}
	}
	return false
}

// droppedCause returns why the policy shuts down the subchannel to an address.
func (p *Policy) droppedCause(address string) event.Cause {
	switch c := p.ch; {
	case c.addresses != nil:
		return removedUnless(slices.Contains(c.addresses, address))
	case p.addresses != nil:
		return removedUnless(slices.Contains(p.addresses, address))
	}
	return event.CauseLBPolicy
}

// closedCause returns why a subchannel to an address is shut down with its policy, while the channel lives on.
func (p *Policy) closedCause(address string) event.Cause {
	switch c := p.ch; {
	case c.addresses != nil:
		return removedUnless(slices.Contains(c.addresses, address))
	case c.gives(address, p):
		return event.CauseLBPolicy
	case p.updates.round < c.updates.round:
		return event.CauseAddressRemoved
	}
	return event.CauseUnknown
}

func removedUnless(given bool) event.Cause {
	if given {
		return event.CauseLBPolicy
	}
	return event.CauseAddressRemoved
}
