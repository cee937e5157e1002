package instrument

import (
	"context"
	"runtime"
	"time"

	"github.com/redial-dev/redial/instrument/internal/ask"
)

// WithPatience sets how long redial waits for what is not its own.
func WithPatience(d time.Duration) Option {
	return func(c *config) { c.asker, c.setUpTime = ask.New(d), d }
}

// Held reports whether the refusal of an RPC is held until the RPC is over.
func (h *Handler) Held() bool { return h.observer.RPCsHeld() }

// Drain waits until the sinks have handled everything that happened before: what became of RPCs that are over, too.
func (h *Handler) Drain(ctx context.Context) error {
	for h.observer.RPCsHeld() && ctx.Err() == nil {
		runtime.Gosched()
	}
	return h.events.queue.Wait(ctx)
}

// Leaving reports whether any transport takes no new RPCs and is not forgotten.
func (h *Handler) Leaving() bool { return h.observer.TransportsLeaving() }
