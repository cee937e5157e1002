package instrument

import (
	"sync/atomic"
	"time"
)

const (
	// askTime is how long a hook waits for a function of the user's.
	askTime = 250 * time.Millisecond
	// maxAsked bounds the goroutines that such functions may block.
	maxAsked = 8
)

// asker calls functions of the user's whose results a hook waits for, each in a goroutine of its own. Any goroutine may
// ask.
type asker struct {
	patience time.Duration
	running  chan struct{} // Full while as many run as may.
	late     atomic.Int64  // How many of those that run nobody waits for any more.
}

func newAsker(patience time.Duration) *asker {
	return &asker{patience: patience, running: make(chan struct{}, maxAsked)}
}

// ask calls a function, and reports whether its end came in time. The result of one that blocks is lost, and while as
// many block as may, no other is called.
func ask[T any](a *asker, function func() T) (result T, inTime bool) {
	if a.late.Load() >= maxAsked {
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
