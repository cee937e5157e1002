package report

import (
	"sync"
	"time"
)

// maxPending bounds the errors that wait for a handler.
const maxPending = 64

// Async returns [Handoff.Add] of a new Handoff.
func Async(handle func(error)) func(error) { return NewHandoff(handle).Add }

// Handoff hands errors to a handler that may be slow, block or panic. The handler is called by one goroutine at a time,
// which runs while there are errors. Its methods may be called from any goroutine.
type Handoff struct {
	handle func(error)

	mu      sync.Mutex
	pending []error
	running bool
	idle    chan struct{} // Closed when the goroutine that runs ends.
}

// NewHandoff returns a Handoff to a function, such as otel.Handle.
func NewHandoff(handle func(error)) *Handoff { return &Handoff{handle: handle} }

// Add waits for nothing. Where too many errors wait, this one is left out.
func (h *Handoff) Add(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.pending) >= maxPending {
		return
	}
	h.pending = append(h.pending, err)
	if !h.running {
		h.running, h.idle = true, make(chan struct{})
		go h.run()
	}
}

// Wait waits until the handler has had all errors, or the time is up.
func (h *Handoff) Wait(limit time.Duration) {
	h.mu.Lock()
	running, idle := h.running, h.idle
	h.mu.Unlock()
	if !running {
		return
	}
	select {
	case <-idle:
	case <-time.After(limit):
	}
}

func (h *Handoff) run() {
	for err := h.next(); err != nil; err = h.next() {
		h.safely(err)
	}
}

func (h *Handoff) next() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.pending) == 0 {
		h.running = false
		close(h.idle)
		return nil
	}
	err := h.pending[0]
	h.pending = h.pending[1:]
	return err
}

// safely calls the handler. Where that panics there is nowhere to report it.
func (h *Handoff) safely(err error) {
	defer func() { _ = recover() }()
	h.handle(err)
}
