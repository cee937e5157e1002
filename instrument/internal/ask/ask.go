// Package ask calls what is not redial's own and returns something, and waits for that a limited time.
package ask

import (
	"sync/atomic"
	"time"
)

// Limit is how long a hook waits for what is not redial's own.
const Limit = 250 * time.Millisecond

// Most bounds the goroutines that may be blocked.
const Most = 8

// Asker calls functions, each in a goroutine of its own. Any goroutine may ask it.
type Asker struct {
	patience time.Duration
	running  chan struct{} // Full while as many run as may.
	late     atomic.Int64  // How many of those that run nobody waits for any more.
}

// New returns an asker that waits so long for each function.
func New(patience time.Duration) *Asker {
	return &Asker{patience: patience, running: make(chan struct{}, Most)}
}

// For calls a function, and reports whether it returned in time. The result of one that blocks is lost, and while as
// many block as may, no other is called. The function must not panic.
func For[T any](a *Asker, function func() T) (result T, inTime bool) {
	if a.late.Load() >= Most {
		return result, false
	}
	limit := time.NewTimer(a.patience)
	defer limit.Stop()
	select {
	case a.running <- struct{}{}:
	case <-limit.C:
		return result, false
	}
	limit.Reset(a.patience)
	var over atomic.Bool // It returned, or nobody waits for it any more.
	results := make(chan T, 1)
	go func() {
		defer func() {
			if over.Swap(true) {
				a.late.Add(-1)
			}
			<-a.running
		}()
		results <- function()
	}()
	select {
	case result = <-results:
		return result, true
	case <-limit.C:
	}
	if a.late.Add(1); over.Swap(true) { // It returned just now.
		a.late.Add(-1)
		return <-results, true
	}
	return result, false
}
