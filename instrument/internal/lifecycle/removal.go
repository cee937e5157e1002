package lifecycle

import (
	"slices"

	"github.com/redial-dev/redial/instrument/event"
)

// given is an update that a policy was given. Where the resolver's answers are not seen, it is the evidence of which
// address was removed: a parent policy hands each update on to all its children, and then closes those of which it says
// nothing.
type given struct {
	update    int32 // Its number in the channel.
	addresses []string
}

// SetAddresses reports the addresses that the policy is given now. A pick_first shuts down its subchannels to others,
// whose SHUTDOWN may still be on its way.
func (p *Policy) SetAddresses(addresses []string) {
	if p.ch.addresses == nil {
		p.give(addresses)
	}
	if p.own == nil {
		return
	}
	for _, s := range p.own.subchannels {
		if !slices.Contains(addresses, s.Server) {
			s.role = removed
		}
	}
}

// give keeps an update of the policy. It is the channel's next where the newest is over, or one that the policy had.
func (p *Policy) give(addresses []string) {
	c := p.ch
	if c.updateOver || p.given != nil && p.given.update == c.update {
		c.update++
		c.updateOver = false
	}
	p.given = &given{c.update, slices.Clone(addresses)}
}

// gives reports whether an open policy other than this was last given an address.
func (c *Channel) gives(address string, but *Policy) bool {
	for _, p := range c.policies {
		if p != but && p.given != nil && slices.Contains(p.given.addresses, address) {
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
	case p.given != nil:
		return removedUnless(slices.Contains(p.given.addresses, address))
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
	case p.given != nil && p.given.update < c.update:
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
