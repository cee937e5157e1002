package record

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redial-dev/redial/instrument/event"
)

// rpcs are the RPCs that may be sent again: an RPC that is refused is reported when it is over, unless gRPC sent it
// again (gRFC A6) and that went well. The attempts of one RPC have contexts of their own, but are cancelled together.
type rpcs struct {
	n  atomic.Int64 // The size of by, at least.
	mu sync.Mutex   // Guards what follows.
	by map[<-chan struct{}]*refusal
}

// refusal is how the newest attempt of an RPC was refused. Its channel is nil if it was not.
type refusal struct {
	channel *Channel
	event   event.RPCRefused
}

// first reports whether an RPC is at its first attempt, which is asked but once.
func (r *rpcs) first(ctx context.Context) bool {
	if ctx.Done() == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by[ctx.Done()] != nil {
		return false
	}
	r.add(ctx)
	return true
}

// again records that an RPC is sent again, if it was refused before.
func (r *rpcs) again(ctx context.Context) {
	if r.n.Load() == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if have := r.by[ctx.Done()]; have != nil {
		*have = refusal{}
	}
}

// refused records that an attempt of an RPC was refused.
func (r *rpcs) refused(ctx context.Context, ch *Channel, e event.RPCRefused) {
	if ctx.Done() == nil {
		ch.refused(e)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	have := r.by[ctx.Done()]
	if have == nil {
		have = r.add(ctx)
	}
	*have = refusal{ch, e}
}

func (r *rpcs) add(ctx context.Context) *refusal {
	if r.by == nil {
		r.by = map[<-chan struct{}]*refusal{}
	}
	added := &refusal{}
	r.by[ctx.Done()] = added
	r.n.Add(1)
	context.AfterFunc(ctx, func() { r.over(ctx.Done()) })
	return added
}

// over reports the RPC's refusal, now that it is over.
func (r *rpcs) over(done <-chan struct{}) {
	r.mu.Lock()
	last, there := r.by[done]
	delete(r.by, done)
	if len(r.by) == 0 {
		r.by = nil // A map keeps the memory of all that were ever in it.
	}
	r.mu.Unlock()
	if !there {
		return
	}
	if last.channel != nil {
		last.channel.refused(last.event)
	}
	r.n.Add(-1)
}

// flush reports the refusals of RPCs that are over.
func (r *rpcs) flush() {
	r.mu.Lock()
	var over []<-chan struct{}
	for done := range r.by {
		select {
		case <-done:
			over = append(over, done)
		default:
		}
	}
	r.mu.Unlock()
	for _, done := range over {
		r.over(done)
	}
}

// RPCsHeld reports whether there are RPCs whose refusal is reported when they are over.
func (o *Observer) RPCsHeld() bool { return o.rpcs.n.Load() > 0 }

func (c *Channel) refused(e event.RPCRefused) {
	c.withLock(func(at time.Time) { c.machine.Refused(at, e) })
}
