package lifecycle

import (
	"time"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
)

// unhealthy reports whether the endpoint has a READY transport that gets no RPCs: a health check failed on it, or
// outlier detection ejected it.
func (e *endpoint) unhealthy() bool { return e.up != nil && e.err != nil }

// fail notes the failure that keeps the endpoint from taking RPCs.
func (e *endpoint) fail(at time.Time, err error) {
	was := e.unhealthy()
	e.err, e.errType = err, failure.Type(err)
	if !was {
		e.failedAt = e.policy.ch.advance(at)
	}
	if !was && e.unhealthy() {
		e.up.sub.emit(event.TransportUnhealthy{
			Header: e.up.sub.header(at), Transport: e.up.id, Err: err, ErrorType: e.errType,
		})
	}
}

// heal notes that the endpoint's transport gets RPCs again.
func (e *endpoint) heal(at time.Time) {
	if e.unhealthy() {
		e.up.sub.emit(event.TransportHealthy{Header: e.up.sub.header(at), Transport: e.up.id, Start: e.failedAt})
		e.err, e.errType = nil, ""
	}
}

// lose notes that the endpoint's transport is lost. Whether it was healthy says nothing of the next.
func (e *endpoint) lose() {
	if e.unhealthy() {
		e.err, e.errType = nil, ""
	}
	e.lost, e.up = e.up.id, nil
}
