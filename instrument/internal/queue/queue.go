// Package queue takes events out of the hooks: a hook adds and goes on, a goroutine of the queue's own hands them to
// the sinks. There is such a goroutine only while there are events.
package queue

import (
	"context"
	"sync/atomic"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/guard"
	"github.com/redial-dev/redial/instrument/internal/hooks/grpcinternals"
	"github.com/redial-dev/redial/internal/report"
)

// Queue is a bounded queue of events. Events are handled one at a time, in the order in which they were added.
//
// It is a list without locks (Dmitry Vyukov's queue of many producers and one consumer): a hook is never put to sleep
// behind another that lost its processor.
type Queue struct {
	handle  func(event.Event)
	dropped func()
	guard   *guard.Guard

	room    atomic.Int64 // How many more events there may be.
	last    atomic.Pointer[node]
	running atomic.Bool
	worker  atomic.Uint64 // The goroutine that runs, or zero.
	first   *node         // Handled already; what follows is not. It belongs to the goroutine that runs.
}

// node is an event, a task, or the mark of a caller of Wait, which waits for what was before it.
type node struct {
	event event.Event
	task  func()
	mark  chan struct{}
	next  atomic.Pointer[node]
}

// New returns an empty queue with room for size events. An event that finds the queue full is dropped. A panic of
// handle is reported, and the next event is handled.
func New(size int64, handle func(event.Event), dropped func(), faults *report.Limiter) *Queue {
	q := &Queue{handle: handle, dropped: dropped, guard: guard.New("a sink panicked", faults), first: &node{}}
	q.room.Store(size)
	q.last.Store(q.first)
	return q
}

// Grow makes the queue's size larger, or smaller if n is negative.
func (q *Queue) Grow(n int64) { q.room.Add(n) }

// Add reports whether there was room for the event. It never blocks.
func (q *Queue) Add(e event.Event) bool {
	if q.room.Add(-1) < 0 {
		q.room.Add(1)
		q.dropped()
		return false
	}
	q.push(&node{event: e})
	return true
}

// TryDo reports whether there was room for the task, which is then done in the goroutine of the sinks. It never blocks.
func (q *Queue) TryDo(task func()) bool {
	if q.room.Add(-1) < 0 {
		q.room.Add(1)
		return false
	}
	q.push(&node{task: func() {
		q.room.Add(1)
		task()
	}})
	return true
}

// Do does a task in the goroutine of the sinks, after the events that were added before. It takes no room: the caller
// bounds the tasks. It never blocks.
func (q *Queue) Do(task func()) { q.push(&node{task: task}) }

func (q *Queue) push(n *node) {
	q.last.Swap(n).next.Store(n)
	if !q.running.Swap(true) {
		go q.run()
	}
}

func (q *Queue) run() {
	own := grpcinternals.Own()
	for {
		q.worker.Store(own)
		for next := q.first.next.Load(); next != nil; next = q.first.next.Load() {
			q.first = next
			q.take(next)
		}
		first := q.first
		q.worker.Store(0)
		q.running.Store(false)
		// A hook that adds from now on sees that no goroutine runs; one that added before may have missed it.
		if first.next.Load() == nil || q.running.Swap(true) {
			return
		}
	}
}

// take handles an event and lets go of it, since the node stays as the list's first.
func (q *Queue) take(n *node) {
	if n.mark != nil {
		close(n.mark)
		return
	}
	e, task := n.event, n.task
	n.event, n.task = nil, nil
	if task != nil {
		q.guard.Run(task)
		return
	}
	q.room.Add(1)
	q.guard.Run(func() { q.handle(e) })
}

// Handling reports whether the caller runs in the goroutine that handles events: it must not wait for them.
func (q *Queue) Handling() bool {
	own := grpcinternals.Own()
	return own != 0 && own == q.worker.Load()
}

// Wait returns when every event that was added before is handled, or with the context's error.
func (q *Queue) Wait(ctx context.Context) error {
	mark := make(chan struct{})
	q.push(&node{mark: mark})
	select {
	case <-mark:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
