package lifecycle

import "time"

// Pace says when a resolver begins its lookups, after the first, which it begins when it is made.
type Pace uint8

const (
	// PaceAsked: a lookup begins when the resolver is asked.
	PaceAsked Pace = iota
	// PaceThrottled is gRPC's dns resolver. It begins a lookup when it is asked, but not within the throttle after an
	// answer that gRPC took; it begins another by itself where it was asked once more meanwhile, and after a failure, when
	// its own backoff is over.
	PaceThrottled
	// PaceOwn: the resolver answers when it likes, and asking it makes no difference, as gRPC's xds resolver.
	PaceOwn
)

// throttle is what gRPC's dns resolver leaves between an answer and the next lookup, unless the program sets another
// time (dns.SetMinResolutionInterval).
const throttle = 30 * time.Second

// lookups says of which lookups of a resolver it is known when they began. Only those are measured.
type lookups struct {
	// free is the time from which on a question begins a lookup at once, in Unix nanoseconds; zero before any answer.
	free int64
	pace Pace
	// known: the question that is outstanding began a lookup at once.
	known bool
	// byItself: the next lookup begins by itself, and again: so does the one after that.
	byItself, again bool
}

// asked notes a question, of which outstanding is whether there was one before that is not answered.
func (l *lookups) asked(at time.Time, outstanding bool) {
	l.known = l.begins(at, outstanding)
	l.again = l.again || outstanding || l.byItself
}

func (l *lookups) begins(at time.Time, outstanding bool) bool {
	switch l.pace {
	case PaceThrottled:
		return !outstanding && !l.byItself && at.UnixNano() >= l.free
	case PaceOwn:
		return l.free == 0
	}
	return true
}

// answered notes an answer, and whether gRPC's resolver takes it for a failure.
func (l *lookups) answered(at time.Time, failed bool) {
	l.free, l.known = at.Add(throttle).UnixNano(), false
	l.byItself = failed || l.again
	l.again = failed && l.again
}

// rejected notes that gRPC did not take an answer, which its resolver takes for a failure.
func (l *lookups) rejected() { l.byItself, l.again = true, true }
