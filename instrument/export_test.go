package instrument

import "context"

// Drain waits until the sinks were told of everything that happened before.
func (h *Handler) Drain(ctx context.Context) error { return h.queue.Wait(ctx) }
