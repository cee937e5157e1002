package lifecycle

import (
	"errors"
	"time"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
)

// answerExpires is the time after which an answer is no longer taken for one to a question that was asked when a
// connection failed, but for an update that the resolver sent unasked. A lookup of the dns resolver takes 30 s at most.
const answerExpires = time.Minute

// Resolver is a channel's name resolver.
type Resolver struct {
	ch      *Channel
	lookups lookups
	// asked is zero where no answer is outstanding.
	asked time.Time
	// start is when it was first asked, or zero.
	start time.Time
	// took is the time until the first answer, which gRPC waits for; it need not answer later questions. It is zero before
	// that; reported is then the time after which the resolution was last reported to go on.
	took, reported time.Duration
	// last is the answer that came last.
	last answer
}

// answer is what a resolver answered.
type answer struct {
	at        time.Time
	addresses int
	failed    *answerFailure // Nil if it is none.
}

// answerFailure is an answer's error, and its class.
type answerFailure struct {
	err   error
	class string
}

// OpenResolver adds a resolver to the channel.
func (c *Channel) OpenResolver(p Pace) *Resolver { return &Resolver{ch: c, lookups: lookups{pace: p}} }

// Asked reports that the resolver was asked. All that is asked before the answer counts as one question.
func (r *Resolver) Asked(at time.Time) {
	at = r.ch.advance(at)
	if r.start.IsZero() {
		r.start, r.ch.resolver = at, r
	}
	outstanding := !r.asked.IsZero()
	if outstanding && !r.expired(at) {
		r.lookups.again = true
		return
	}
	r.asked = at
	r.lookups.asked(at, outstanding)
}

// Rejected reports that gRPC did not take the answer.
func (r *Resolver) Rejected() { r.lookups.rejected() }

func (r *Resolver) answered() bool { return r.took != 0 }

// resolving reports whether the channel waits for the first answer of a resolver.
func (c *Channel) resolving() bool { return c.resolver != nil && !c.resolver.answered() }

// rollOver reports a first resolution that goes on for long. It is a chapter of it.
func (r *Resolver) rollOver(at time.Time) {
	age := r.ch.advance(at).Sub(r.start)
	if age-r.reported < chapterLength {
		return
	}
	r.ch.emit(event.Resolved{
		Header: r.ch.header(at), Start: r.start.Add(r.reported), Outcome: event.OutcomeContinued,
	})
	r.reported = age
}

func (r *Resolver) expired(at time.Time) bool {
	return r.answered() && at.Sub(r.asked) > answerExpires
}

// Answered reports the resolver's answer: addresses, or an error. An answer without either leaves it to the policies to
// find addresses.
func (r *Resolver) Answered(at time.Time, addresses []string, err error) {
	outcome := event.OutcomeReady
	if err != nil {
		outcome = event.OutcomeFailed
	}
	if len(addresses) > 0 || errors.Is(err, failure.ErrNoAddresses) {
		r.ch.addresses = append([]string{}, addresses...)
	}
	r.emit(at, len(addresses), outcome, err)
}

// Close reports that the resolver was closed.
func (r *Resolver) Close(at time.Time) {
	if !r.answered() && !r.asked.IsZero() {
		r.emit(at, 0, event.OutcomeCancelled, nil)
	}
}

func (r *Resolver) emit(at time.Time, addresses int, outcome event.Outcome, err error) {
	header := r.ch.header(at)
	start := r.asked
	if start.IsZero() || r.expired(at) || !r.lookups.known {
		start = header.Time
	}
	r.lookups.answered(header.Time, outcome == event.OutcomeFailed)
	if r.start.IsZero() { // It is not wrapped, and its questions are not seen.
		r.start, r.ch.resolver = header.Time, r
	}
	if !r.answered() {
		r.took = max(header.Time.Sub(r.start), 1)
	}
	r.asked, r.last = time.Time{}, answer{at: header.Time, addresses: addresses}
	class := failure.ResolutionType(err)
	if err != nil {
		r.last.failed = &answerFailure{err, class}
	}
	r.ch.emit(event.Resolved{
		Header: header, Start: start, Addresses: addresses, Outcome: outcome, Err: err, ErrorType: class,
	})
	if outcome != event.OutcomeReady {
		return
	}
	for w := range r.ch.waits {
		w.resolved(at)
	}
}
