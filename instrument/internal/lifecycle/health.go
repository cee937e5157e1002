package lifecycle

import (
	"time"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
)

// unhealthy reports whether the endpoint has a READY transport that gets no RPCs: a health check failed on it, or
// outlier detection ejected it.
func (e *endpoint) unhealthy() bool { return e.up != nil && e.failed != nil }

// fail notes the failure that keeps the endpoint from taking RPCs, if a policy gives it.
func (e *endpoint) fail(at time.Time, err error) {
	if err == nil {
		e.failed = nil
		return
	}
	failed := &endpointFailure{err: err, class: failure.Type(err)}
	was := e.unhealthy()
	if was {
		failed.at = e.failed.at
	} else {
		failed.at = e.policy.ch.advance(at)
	}
	e.failed = failed
	if !was && e.unhealthy() {
		e.up.sub.emit(event.TransportUnhealthy{
			Header: e.up.sub.header(at), Transport: e.up.id, Err: err, ErrorType: failed.class,
		})
	}
}

// heal notes that the endpoint's transport gets RPCs again.
func (e *endpoint) heal(at time.Time) {
	if e.unhealthy() {
		e.up.sub.emit(event.TransportHealthy{Header: e.up.sub.header(at), Transport: e.up.id, Start: e.failed.at})
		e.failed = nil
	}
}

// lose notes that the endpoint's transport is lost. Whether it was healthy says nothing of the next.
func (e *endpoint) lose() {
	if e.unhealthy() {
		e.failed = nil
	}
	e.lost, e.up = e.up.id, nil
}
