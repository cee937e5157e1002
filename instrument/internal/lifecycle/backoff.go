package lifecycle

import (
	"time"

	"github.com/redial-dev/redial/instrument/event"
)

// backoff is a subchannel's wait before its next attempt. Its start is zero while there is none.
type backoff struct {
	start   time.Time
	episode event.ID // The chapter in which it began.
}

func (s *Subchannel) beginBackoff(at time.Time) {
	s.backoff = backoff{s.ch().now, s.endpoint.episode.id}
	s.emit(event.BackoffStarted{Header: s.header(at), Episode: s.backoff.episode})
}

// endBackoff ends the wait: reset if it is known to have been shorter than gRPC's backoff is at least, which is what
// ClientConn.ResetConnectBackoff does, and else elapsed.
func (s *Subchannel) endBackoff(at time.Time) {
	if s.backoff.start.IsZero() {
		return
	}
	waited := s.ch().advance(at).Sub(s.backoff.start)
	if s.ch().cfg.BackoffKnown && waited < s.ch().cfg.Backoff(int(s.failures)) {
		s.failures = 0
		s.endBackoffAs(at, event.OutcomeReset)
		return
	}
	s.failures++
	s.endBackoffAs(at, event.OutcomeElapsed)
}

func (s *Subchannel) endBackoffAs(at time.Time, o event.Outcome) {
	if s.backoff.start.IsZero() {
		return
	}
	header := s.header(at)
	ended := event.BackoffEnded{Header: header, Episode: s.backoff.episode, Start: s.backoff.start, Outcome: o}
	s.backoff = backoff{}
	if e := s.endpoint.episode; e != nil {
		e.backoff += header.Time.Sub(ended.Start)
	}
	s.emit(ended)
}
