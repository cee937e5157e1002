package lifecycle

import (
	"slices"
	"time"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
)

// answerExpires is the time after which an answer is no answer any more to what was asked when a connection failed,
// but an update of the resolver's own accord. The DNS resolver waits 30 s between two lookups, and one of them 20 s.
const answerExpires = time.Minute

// Resolver is a channel's name resolver.
type Resolver struct {
	ch *Channel
	// asked is zero where no answer is outstanding.
	asked time.Time
	// answered: it gave its first answer, which it owes. Those to later questions it does not, if it knows better.
	answered bool
}

// OpenResolver tells that the channel has a resolver.
func (c *Channel) OpenResolver() *Resolver { return &Resolver{ch: c} }

// Asked tells that the resolver was asked. What is asked before the answer counts as one question.
func (r *Resolver) Asked(at time.Time) {
	if r.expired(at) || r.asked.IsZero() {
		r.asked = r.ch.advance(at)
	}
}

func (r *Resolver) expired(at time.Time) bool {
	return r.answered && at.Sub(r.asked) > answerExpires
}

// Answered tells the resolver's answer: addresses, or an error.
func (r *Resolver) Answered(at time.Time, addresses []string, err error) {
	outcome := event.OutcomeReady
	if err != nil {
		outcome = event.OutcomeFailed
	} else {
		r.ch.setAddresses(addresses)
	}
	r.emit(at, len(addresses), outcome, err)
}

// Close tells that the resolver is no more.
func (r *Resolver) Close(at time.Time) {
	if !r.answered && !r.asked.IsZero() {
		r.emit(at, 0, event.OutcomeCancelled, nil)
	}
}

func (r *Resolver) emit(at time.Time, addresses int, outcome event.Outcome, err error) {
	head := r.ch.head(at)
	start := r.asked
	if start.IsZero() || r.expired(at) {
		start = head.Time
	}
	r.asked, r.answered = time.Time{}, true
	r.ch.emit(event.Resolved{Header: head, Start: start, Addresses: addresses, Outcome: outcome, Err: err,
		ErrorType: failure.ResolutionType(err)})
}

func (c *Channel) setAddresses(addresses []string) {
	c.addresses = append([]string{}, addresses...)
}

// removalCause says why a policy dropped an address while its channel lives on.
func (c *Channel) removalCause(address string) event.Cause {
	if c.addresses != nil && !slices.Contains(c.addresses, address) {
		return event.CauseAddressRemoved
	}
	return event.CauseLBPolicy
}
