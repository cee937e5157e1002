package table

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Delayed holds tasks that are done after a delay, which is the same for all. However many there are, it takes no more
// goroutines than it has parts.
type Delayed struct {
	delay time.Duration
	run   func(task func())
	next  atomic.Uint64
	parts [16]delayedPart
}

type delayedPart struct {
	mu sync.Mutex
	// tasks are those that are not done, oldest first. A timer is set while there are any.
	tasks []delayedTask
}

type delayedTask struct {
	due time.Time
	do  func()
}

// NewDelayed returns an empty table. Each task is done by run.
func NewDelayed(delay time.Duration, run func(task func())) *Delayed {
	return &Delayed{delay: delay, run: run}
}

// Add makes a task done after the delay.
func (d *Delayed) Add(task func()) {
	part := &d.parts[d.next.Add(1)%uint64(len(d.parts))]
	part.mu.Lock()
	defer part.mu.Unlock()
	part.tasks = append(part.tasks, delayedTask{time.Now().Add(d.delay), task})
	if len(part.tasks) == 1 {
		time.AfterFunc(d.delay, func() { d.doDue(part) })
	}
}

func (d *Delayed) doDue(part *delayedPart) {
	for _, task := range d.takeDue(part, time.Now()) {
		d.run(task.do)
	}
}

func (d *Delayed) takeDue(part *delayedPart, now time.Time) (due []delayedTask) {
	part.mu.Lock()
	defer part.mu.Unlock()
	n := 0
	for n < len(part.tasks) && !part.tasks[n].due.After(now) {
		n++
	}
	due, part.tasks = part.tasks[:n], slices.Clone(part.tasks[n:])
	if len(part.tasks) > 0 {
		time.AfterFunc(part.tasks[0].due.Sub(now), func() { d.doDue(part) })
	}
	return due
}

// Clear forgets all tasks.
func (d *Delayed) Clear() {
	for i := range d.parts {
		part := &d.parts[i]
		part.mu.Lock()
		part.tasks = nil
		part.mu.Unlock()
	}
}
