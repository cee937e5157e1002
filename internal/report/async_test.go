package report_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redial-dev/redial/internal/report"
)

// A handler that panics gets the next error all the same.
func TestPanickingHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		handle := report.Async(func(error) { calls++; panic("a handler's fault") })
		handle(errors.New("one"))
		handle(errors.New("another"))
		synctest.Wait()
		if calls != 2 {
			t.Errorf("the handler was called %d times, want 2", calls)
		}
	})
}

// A handler that blocks keeps nothing waiting, and a bounded number of errors.
func TestBlockedHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		released := make(chan struct{})
		handle := report.Async(func(error) { calls.Add(1); <-released })
		for range 1000 {
			handle(errors.New("an error"))
		}
		synctest.Wait()
		if calls.Load() != 1 {
			t.Errorf("the handler was called %d times at once", calls.Load())
		}
		close(released)
		synctest.Wait()
		if n := calls.Load(); n > 100 {
			t.Errorf("%d errors were kept", n)
		}
	})
}

// Wait returns once all was handled, and does not wait for a handler that blocks.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		released, calls := make(chan struct{}), 0
		h := report.NewHandoff(func(error) { <-released; calls++ })
		begin := time.Now()
		h.Wait(time.Minute)
		if took := time.Since(begin); took != 0 {
			t.Errorf("with nothing to handle it waits %v", took)
		}
		h.Add(errors.New("one"))
		h.Add(errors.New("another"))
		h.Wait(time.Second)
		if took := time.Since(begin); took != time.Second {
			t.Errorf("it waits %v for a handler that blocks, want 1s", took)
		}
		close(released)
		h.Wait(time.Minute)
		if calls != 2 || time.Since(begin) != time.Second {
			t.Errorf("after %v %d errors are handled, want 2 at once", time.Since(begin), calls)
		}
	})
}
