package ask

import (
	"testing"
	"testing/synctest"
	"time"
)

// Many functions at once that take a moment are all in time.
func TestAskMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, results := New(Limit), make(chan bool)
		for range 10 * Most {
			go func() {
				done, inTime := For(a, func() bool { time.Sleep(time.Millisecond); return true })
				results <- done && inTime
			}()
		}
		for range 10 * Most {
			if !<-results {
				t.Error("a function that takes a millisecond is not in time")
			}
		}
	})
}

// Functions that block hold a caller once each, and as many goroutines as may be; when they return, others are called.
func TestAskBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, released := New(Limit), make(chan struct{})
		begin := time.Now()
		for range 10 * Most {
			if _, inTime := For(a, func() bool { <-released; return true }); inTime {
				t.Error("a function that blocks is in time")
			}
		}
		if took := time.Since(begin); took != Most*Limit {
			t.Errorf("functions that block held their callers for %v", took)
		}
		close(released)
		synctest.Wait()
		if done, inTime := For(a, func() bool { return true }); !done || !inTime {
			t.Error("no function is called after those that blocked returned")
		}
	})
}
