package lifecycle

import (
	"slices"
	"time"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
)

// answerExpires is the time after which an answer is no longer taken for one to a question that was asked when a
// connection failed, but for an update that the resolver sent unasked. The DNS resolver waits 30 s between two lookups,
// and a lookup takes up to 20 s.
const answerExpires = time.Minute

// Resolver is a channel's name resolver.
type Resolver struct {
	ch *Channel
	// asked is zero where no answer is outstanding.
	asked time.Time
	// answered: it gave its first answer, which gRPC waits for. It need not answer later questions.
	answered bool
}

// OpenResolver adds a resolver to the channel.
func (c *Channel) OpenResolver() *Resolver { return &Resolver{ch: c} }

// Asked reports that the resolver was asked. All that is asked before the answer counts as one question.
func (r *Resolver) Asked(at time.Time) {
	if r.asked.IsZero() && !r.answered {
		r.ch.resolving.add(r)
		r.ch.resolverAsked, r.ch.resolverAnswered = r.ch.advance(at), time.Time{}
	}
	if r.expired(at) || r.asked.IsZero() {
		r.asked = r.ch.advance(at)
	}
}

func (r *Resolver) expired(at time.Time) bool {
	return r.answered && at.Sub(r.asked) > answerExpires
}

// Answered reports the resolver's answer: addresses, or an error.
func (r *Resolver) Answered(at time.Time, addresses []string, err error) {
	outcome := event.OutcomeReady
	if err != nil {
		outcome = event.OutcomeFailed
	} else {
		r.ch.setAddresses(addresses)
	}
	r.emit(at, len(addresses), outcome, err)
}

// Close reports that the resolver was closed.
func (r *Resolver) Close(at time.Time) {
	if !r.answered && !r.asked.IsZero() {
		r.emit(at, 0, event.OutcomeCancelled, nil)
	}
}

func (r *Resolver) emit(at time.Time, addresses int, outcome event.Outcome, err error) {
	header := r.ch.header(at)
	start := r.asked
	if start.IsZero() || r.expired(at) {
		start = header.Time
	}
	if !r.answered && !r.asked.IsZero() {
		r.ch.resolverAnswered = header.Time
	}
	r.asked, r.answered = time.Time{}, true
	r.ch.resolving.remove(r)
	r.ch.resolveFailure = failure.ResolutionType(err)
	r.ch.emit(event.Resolved{Header: header, Start: start, Addresses: addresses, Outcome: outcome, Err: err,
		ErrorType: r.ch.resolveFailure})
	for w := range r.ch.waits {
		if w.reported && w.reason == event.WaitNameResolution {
			w.next(at)
		}
	}
}

func (c *Channel) setAddresses(addresses []string) {
	c.addresses = append([]string{}, addresses...)
}

// removalCause returns why a policy dropped an address while its channel lives on.
func (c *Channel) removalCause(address string) event.Cause {
	if c.addresses != nil && !slices.Contains(c.addresses, address) {
		return event.CauseAddressRemoved
	}
	return event.CauseLBPolicy
}
