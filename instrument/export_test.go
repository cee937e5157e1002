package instrument

import (
	"context"
	"runtime"
	"time"
)

// WithPatience sets how long a hook waits for a function of the user's.
func WithPatience(d time.Duration) Option { return func(c *config) { c.patience = d } }

// Held reports whether the refusal of an RPC is held until the RPC is over.
func (h *Handler) Held() bool { return h.observer.RPCsHeld() }

// Drain waits until the sinks have handled everything that happened before: what became of RPCs that are over, too.
func (h *Handler) Drain(ctx context.Context) error {
	for h.observer.RPCsHeld() && ctx.Err() == nil {
		runtime.Gosched()
	}
	return h.events.queue.Wait(ctx)
}
