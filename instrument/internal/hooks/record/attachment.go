package record

import (
	"sync"
	"sync/atomic"

	estats "google.golang.org/grpc/experimental/stats"
	"google.golang.org/grpc/resolver"
)

// Attachment is one stats.Handler that gRPC was given. gRPC does not say which channel an RPC belongs to before a
// picker sees the RPC, but where one channel alone was given the handler, it is that one.
type Attachment struct {
	observer *Observer
	only     atomic.Pointer[Channel] // Nil while there is none, or when there were several.
	isSpare  atomic.Bool

	mu     sync.Mutex // Guards what follows.
	shared bool       // Several channels were given it.
}

// Attach returns a new attachment, to no channel yet.
func (o *Observer) Attach() *Attachment { return &Attachment{observer: o} }

// Observer returns what observes the channel.
func (a *Attachment) Observer() *Observer { return a.observer }

// Channel returns the record of the channel with this recorder and canonical target.
func (a *Attachment) Channel(recorder estats.MetricsRecorder, target resolver.Target) *Channel {
	c := a.observer.channel(recorder, target)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.isSpare.Store(false)
	switch only := a.only.Load(); {
	case a.shared || only == c:
	case only == nil || only.finished():
		a.only.Store(c)
	default:
		a.shared = true
		a.only.Store(nil)
	}
	return c
}

// spare makes that the attachment reports nothing, unless another channel was given it: the channel has one of the same
// observer before it, and all would be counted twice.
func (a *Attachment) spare() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.shared && a.only.Load() == nil {
		a.isSpare.Store(true)
	}
}

// Spare reports whether the channel has another attachment of the same observer.
func (a *Attachment) Spare() bool { return a.isSpare.Load() }

// mayWait reports whether an RPC that begins now may have to wait: its channel is not READY, or a transport has as many
// streams as it ever had, or as it may have, or is new: the server may allow none.
func (a *Attachment) mayWait() bool {
	if c := a.only.Load(); c != nil {
		return c.unready() || c.nearLimit.Load() > 0 || c.untried.Load()
	}
	return a.observer.unready.Load() > 0
}
