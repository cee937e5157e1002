package table

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"
)

// maxPicks bounds the RPCs that are followed while their pick is pending.
const maxPicks = 1 << 16

// Picks holds the pending picks: the RPCs that a picker had no transport for, by their context. gRPC gives the same
// one to the next picker, to DelayedPickComplete and to the RPC's end. No RPC waits here for another, and one RPC's
// calls come one after the other.
type Picks[P any] struct {
	n     atomic.Int64 // The size of byCtx, at least.
	byCtx sync.Map     // Of comparable context.Context to *P.
}

// Empty reports whether no pick is pending.
func (all *Picks[P]) Empty() bool { return all.n.Load() == 0 }

// LoadOrAdd returns the RPC's pending pick, which is made if there is none. It returns nil if the RPC cannot be
// followed, and whether that is since there are too many.
func (all *Picks[P]) LoadOrAdd(ctx context.Context, make func() *P) (pick *P, full bool) {
	if !reflect.TypeOf(ctx).Comparable() {
		return nil, false
	}
	if p, ok := all.byCtx.Load(ctx); ok {
		return p.(*P), false
	}
	if all.n.Add(1) > maxPicks {
		all.n.Add(-1)
		return nil, true
	}
	pick = make()
	all.byCtx.Store(ctx, pick)
	return pick, false
}

// Take removes the RPC's pending pick and returns it, or nil.
func (all *Picks[P]) Take(ctx context.Context) *P {
	if all.Empty() || !reflect.TypeOf(ctx).Comparable() {
		return nil
	}
	p, ok := all.byCtx.LoadAndDelete(ctx)
	if !ok {
		return nil
	}
	all.n.Add(-1)
	return p.(*P)
}

// Clear forgets all pending picks.
func (all *Picks[P]) Clear() {
	all.byCtx.Range(func(ctx, _ any) bool {
		all.Take(ctx.(context.Context))
		return true
	})
}
