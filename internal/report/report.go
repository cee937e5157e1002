// Package report limits the errors that redial reports: a fault that comes back a thousand times a second is reported
// once a minute, with a count.
package report

import (
	"fmt"
	"sync"
	"time"
)

// Every is the time between two reports of one kind.
const Every = time.Minute

// Kind is what is limited together. There are few, all of them constants.
type Kind string

// Limiter passes errors on. Its methods may be called from any goroutine.
type Limiter struct {
	handle func(error)

	mu    sync.Mutex
	kinds map[Kind]*record
}

type record struct {
	next    time.Time // When a report may be made again.
	skipped int
}

// New returns a limiter that hands errors to a function, such as otel.Handle.
func New(handle func(error)) *Limiter {
	return &Limiter{handle: handle, kinds: map[Kind]*record{}}
}

// Report hands an error on, unless one of its kind was within the last minute: then it is counted, and the next report
// has the count.
func (l *Limiter) Report(kind Kind, err error) {
	skipped, ok := l.allow(kind)
	if !ok {
		return
	}
	if skipped > 0 {
		err = fmt.Errorf("%w (and %d more of this kind since the last report)", err, skipped)
	}
	l.handle(err)
}

func (l *Limiter) allow(kind Kind) (skipped int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, known := l.kinds[kind]
	if !known {
		r = &record{}
		l.kinds[kind] = r
	}
	now := time.Now()
	if now.Before(r.next) {
		r.skipped++
		return 0, false
	}
	skipped, r.skipped, r.next = r.skipped, 0, now.Add(Every)
	return skipped, true
}
