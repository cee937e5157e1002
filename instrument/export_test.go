package instrument

import "context"

// Drain waits until the sinks have handled everything that happened before.
func (h *Handler) Drain(ctx context.Context) error { return h.events.queue.Wait(ctx) }
