// Package queue takes events out of the hooks: a hook adds and goes on, a goroutine of the queue's own hands them to
// the sinks. There is such a goroutine only while there are events.
package queue

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/redial-dev/redial/instrument/event"
)

// Queue is a bounded queue of events. Events are handled in the order in which they were added, one at a time.
type Queue struct {
	handle  func(event.Event)
	dropped func()
	fault   func(error)
	size    int

	mu      sync.Mutex
	events  []event.Event
	running bool
	idle    chan struct{} // Closed while no goroutine runs.
}

// New returns an empty queue for so many events. An event that finds the queue full is dropped. A panic of handle is
// told to fault, and the next event handled.
func New(size int, handle func(event.Event), dropped func(), fault func(error)) *Queue {
	q := &Queue{handle: handle, dropped: dropped, fault: fault, size: size, idle: make(chan struct{})}
	close(q.idle)
	return q
}

// Add never blocks.
func (q *Queue) Add(e event.Event) {
	q.mu.Lock()
	full := len(q.events) >= q.size
	if !full {
		q.events = append(q.events, e)
		if !q.running {
			q.running = true
			q.idle = make(chan struct{})
			go q.run(q.idle)
		}
	}
	q.mu.Unlock()
	if full {
		q.dropped()
	}
}

func (q *Queue) run(idle chan struct{}) {
	defer close(idle)
	for {
		q.mu.Lock()
		batch := q.events
		q.events = nil
		if len(batch) == 0 {
			q.running = false
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()
		for _, e := range batch {
			q.safely(e)
		}
	}
}

func (q *Queue) safely(e event.Event) {
	defer func() {
		if r := recover(); r != nil {
			q.fault(fmt.Errorf("redial: a sink panicked on the event %q: %v\n%s", e, r, debug.Stack()))
		}
	}()
	q.handle(e)
}

// Wait returns when every event that was added before is handled, or with the context's error.
func (q *Queue) Wait(ctx context.Context) error {
	q.mu.Lock()
	idle := q.idle
	q.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
