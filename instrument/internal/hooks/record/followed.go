package record

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// followed are the RPCs that are followed from their begin. Where an attempt got no stream, since its transport was
// lost, gRPC may begin two in its place: of the first it makes no use, and never reports its end. The attempts of one
// RPC have contexts of their own, but are cancelled together.
type followed struct {
	n  atomic.Int64
	by sync.Map // The Done channel of an RPC's context -> *pendingPick. Most lookups find nothing, and take no lock.
}

// maxFollowed bounds the RPCs that are followed from their begin.
const maxFollowed = 1 << 16

// add follows an RPC, and reports whether there was room for it.
func (f *followed) add(ctx context.Context, p *pendingPick) bool {
	if f.n.Add(1) > maxFollowed {
		f.n.Add(-1)
		return false
	}
	if p.done = ctx.Done(); p.done != nil {
		f.by.Store(p.done, p)
	}
	return true
}

// remove follows an RPC no more.
func (f *followed) remove(p *pendingPick) {
	p.followed = false
	f.n.Add(-1)
	if p.done != nil {
		f.by.CompareAndDelete(p.done, p)
	}
}

// again records that an RPC begins anew. gRPC made no use of the attempt before if that is still followed.
func (f *followed) again(ctx context.Context) {
	if f.n.Load() == 0 {
		return
	}
	if unused, ok := f.by.Load(ctx.Done()); ok {
		p := unused.(*pendingPick)
		f.remove(p)
		p.abandon()
	}
}

// abandon ends what is recorded of an attempt of which gRPC made no use.
func (p *pendingPick) abandon() {
	if p.channel == nil {
		return
	}
	p.channel.withLock(func(at time.Time) {
		if p.wait != nil {
			p.wait.Abandon(at)
		}
	})
}
