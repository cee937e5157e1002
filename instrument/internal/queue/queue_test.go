package queue

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/internal/report"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func numbered(n int) event.Event { return event.Resolved{Addresses: n} }

func number(e event.Event) int { return e.(event.Resolved).Addresses }

func wait(t *testing.T, q *Queue) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := q.Wait(ctx); err != nil {
		t.Fatal(err)
	}
}

// Events are handled in order, and all that were added before Wait are handled when it returns.
func TestOrder(t *testing.T) {
	var handled []int
	handle := func(e event.Event) { handled = append(handled, number(e)) }
	q := New(1000, handle, func() { t.Error("dropped") }, report.New(func(err error) { t.Error(err) }))
	wait(t, q)
	for n := range 500 {
		q.Add(numbered(n))
	}
	wait(t, q)
	for n, have := range handled {
		if have != n {
			t.Fatalf("event %d was handled as number %d", have, n)
		}
	}
	if len(handled) != 500 {
		t.Errorf("%d events were handled, want 500", len(handled))
	}
}

// blockedQueue returns a queue whose sink holds on to one event until it is released, and what was dropped and handled.
func blockedQueue(t *testing.T, size int64) (q *Queue, dropped, handled *atomic.Int64, release func()) {
	dropped, handled = new(atomic.Int64), new(atomic.Int64)
	entered, blocked := make(chan struct{}), make(chan struct{})
	q = New(size, func(event.Event) {
		if handled.Add(1) == 1 {
			close(entered)
			<-blocked
		}
	}, func() { dropped.Add(1) }, report.New(func(err error) { t.Error(err) }))
	q.Add(numbered(0))
	<-entered
	return q, dropped, handled, func() { close(blocked) }
}

// While a sink blocks, the queue takes as many events as it has room for; each other one is dropped and counted, and
// no caller waits.
func TestFull(t *testing.T) {
	const size = 10
	q, dropped, handled, release := blockedQueue(t, size)
	for n := range size + 7 {
		q.Add(numbered(n))
	}
	if have := dropped.Load(); have != 7 {
		t.Errorf("%d events were dropped, want 7", have)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := q.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait with a context that is done: %v", err)
	}
	release()
	wait(t, q)
	if have := handled.Load(); have != size+1 {
		t.Errorf("%d events were handled, want %d", have, size+1)
	}
}

// A panic is reported, and the next event is handled.
func TestPanic(t *testing.T) {
	var have []error
	handled := 0
	q := New(10, func(e event.Event) {
		if number(e) == 0 {
			panic("a sink's fault")
		}
		handled++
	}, func() { t.Error("dropped") }, report.New(func(err error) { have = append(have, err) }))
	q.Add(numbered(0))
	q.Add(numbered(1))
	wait(t, q)
	if len(have) != 1 || !strings.Contains(have[0].Error(), "a sink's fault") || handled != 1 {
		t.Errorf("faults %v, %d handled", have, handled)
	}
}

// Many add at once: nothing is lost, what each adds stays in order, and at the end no goroutine runs.
func TestManyAtOnce(t *testing.T) {
	const producers, each = 16, 2000
	next := map[int]int{} // By producer. The one that handles needs no lock.
	q := New(producers*each, func(e event.Event) {
		producer, n := number(e)/each, number(e)%each
		if next[producer] != n {
			t.Errorf("producer %d: event %d came where %d is next", producer, n, next[producer])
		}
		next[producer]++
	}, func() { t.Error("dropped") }, report.New(func(err error) { t.Error(err) }))
	var adding sync.WaitGroup
	for producer := range producers {
		adding.Go(func() {
			for n := range each {
				q.Add(numbered(producer*each + n))
				if n%100 == 0 {
					runtime.Gosched() // So that the queue is empty now and then.
				}
			}
		})
	}
	adding.Wait()
	wait(t, q)
	for producer := range producers {
		if next[producer] != each {
			t.Errorf("producer %d: %d events were handled, want %d", producer, next[producer], each)
		}
	}
}

// A queue that grows takes more, and as it shrinks no more than before.
func TestGrow(t *testing.T) {
	q, dropped, handled, release := blockedQueue(t, 1)
	q.Grow(2)
	for n := range 4 {
		q.Add(numbered(n))
	}
	q.Grow(-2)
	q.Add(numbered(0))
	release()
	wait(t, q)
	q.Add(numbered(0))
	wait(t, q)
	if handled.Load() != 5 || dropped.Load() != 2 {
		t.Errorf("%d events were handled and %d dropped, want 5 and 2", handled.Load(), dropped.Load())
	}
}
