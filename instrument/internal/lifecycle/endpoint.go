package lifecycle

import (
	"time"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/snapshot"
)

// endpoint is what a person calls "the connection": it connects, is READY, is lost and connects again.
//
//	idle ──► connecting (episode) ──► ready (up) ──► lost ──► connecting ...
type endpoint struct {
	policy      *Policy
	id          event.ID
	subchannels []*Subchannel
	// woken: the endpoint was made when its channel left idleness.
	woken bool
	// episode is the one that is open, or nil.
	episode *episode
	// up is the transport in use, and lost the one whose loss was not followed by an episode yet.
	up   *Transport
	lost event.ID
	// failed is the failure that keeps the endpoint from being READY, or its READY transport from getting RPCs, or nil.
	failed   *endpointFailure
	lastLoss *snapshot.Loss // Of a transport whose record is complete.
}

// endpointFailure is why an endpoint takes no RPCs.
type endpointFailure struct {
	err   error
	class string
	at    time.Time
}

// failureClass returns the class of the endpoint's failure, or "".
func (e *endpoint) failureClass() string {
	if e.failed == nil {
		return ""
	}
	return e.failed.class
}

func (e *endpoint) header(at time.Time) event.Header {
	h := e.policy.ch.header(at)
	h.Endpoint = e.id
	return h
}

// ready ends the episode well. The other subchannels stop connecting, as pick_first makes them.
func (e *endpoint) ready(at time.Time, winner *Subchannel, t *Transport) {
	if e.up == t {
		e.heal(at)
	}
	e.failed, e.up, e.woken = nil, t, false
	for _, s := range e.subchannels {
		if s != winner {
			s.stop(at, event.OutcomeCancelled)
		}
	}
	e.endEpisode(at, event.OutcomeReady)
}

// abandonIfEmpty gives the episode up if there is no address left to connect to.
func (e *endpoint) abandonIfEmpty(at time.Time) {
	if len(e.subchannels) == 0 {
		e.endEpisode(at, event.OutcomeAbandoned)
	}
}

func (e *endpoint) end(at time.Time, why ending) {
	for len(e.subchannels) > 0 {
		e.subchannels[0].close(at, why)
	}
	e.endEpisode(at, why.outcome)
}

// remember keeps the end of a transport for the endpoint's snapshot.
func (e *endpoint) remember(ended event.TransportEnded) {
	e.lastLoss = &snapshot.Loss{
		Time: ended.Lost, Cause: ended.Cause, DisconnectError: e.policy.ch.texts.Text(ended.DisconnectError),
		Interrupted: ended.Interrupted,
	}
}
