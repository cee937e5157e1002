package report

import "sync"

// maxPending bounds the errors that wait for a handler.
const maxPending = 64

// Async returns a function that hands errors to a handler that may be slow, block or panic, and waits for nothing.
// The handler is called by one goroutine at a time, which runs while there are errors. Where too many wait, an error
// is left out.
func Async(handle func(error)) func(error) { return (&handoff{handle: handle}).add }

type handoff struct {
	handle func(error)

	mu      sync.Mutex
	pending []error
	running bool
}

func (h *handoff) add(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.pending) >= maxPending {
		return
	}
	h.pending = append(h.pending, err)
	if !h.running {
		h.running = true
		go h.run()
	}
}

func (h *handoff) run() {
	for err := h.next(); err != nil; err = h.next() {
		h.safely(err)
	}
}

func (h *handoff) next() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.pending) == 0 {
		h.running = false
		return nil
	}
	err := h.pending[0]
	h.pending = h.pending[1:]
	return err
}

// safely calls the handler. Where that panics there is nowhere to report it.
func (h *handoff) safely(err error) {
	defer func() { _ = recover() }()
	h.handle(err)
}
