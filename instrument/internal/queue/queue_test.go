package queue

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/redial-dev/redial/instrument/event"
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
	q := New(1000, func(e event.Event) { handled = append(handled, number(e)) }, func() { t.Error("dropped") }, func(err error) { t.Error(err) })
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

// While a sink blocks, the queue takes as many events as it has room for; each other one is dropped and counted, and
// nobody waits.
func TestFull(t *testing.T) {
	const size = 10
	var dropped, handled atomic.Int64
	entered, blocked := make(chan struct{}), make(chan struct{})
	q := New(size, func(event.Event) {
		if handled.Add(1) == 1 {
			close(entered)
			<-blocked
		}
	}, func() { dropped.Add(1) }, func(err error) { t.Error(err) })
	q.Add(numbered(0))
	<-entered
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
	close(blocked)
	wait(t, q)
	if have := handled.Load(); have != size+1 {
		t.Errorf("%d events were handled, want %d", have, size+1)
	}
}

// A panic is told, with the event, and the next event is handled.
func TestPanic(t *testing.T) {
	var told []error
	handled := 0
	q := New(10, func(e event.Event) {
		if number(e) == 0 {
			panic("a sink's fault")
		}
		handled++
	}, func() { t.Error("dropped") }, func(err error) { told = append(told, err) })
	q.Add(numbered(0))
	q.Add(numbered(1))
	wait(t, q)
	if len(told) != 1 || !strings.Contains(told[0].Error(), "a sink's fault") || handled != 1 {
		t.Errorf("told %v, %d handled", told, handled)
	}
}
