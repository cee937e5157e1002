package record

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/hooks/grpcinternals"
)

// Start is the start of an RPC that an interceptor saw. gRPC reports an RPC to a stats.Handler when its channel's name
// is resolved, and one that dies before never.
type Start struct {
	observer *Observer
	at       time.Time
	begun    atomic.Bool
}

// startKey is the key of an RPC's start in its context.
type startKey struct{ observer *Observer }

// RPCStarting returns the context of an RPC that an interceptor sees, and its start.
func (o *Observer) RPCStarting(ctx context.Context) (context.Context, *Start) {
	o.intercepted.Store(true)
	s := &Start{observer: o, at: time.Now()}
	return context.WithValue(ctx, startKey{o}, s), s
}

// noteBegun notes that gRPC reports an RPC.
func (o *Observer) noteBegun(ctx context.Context) {
	if !o.intercepted.Load() {
		return
	}
	if s, ok := ctx.Value(startKey{o}).(*Start); ok {
		s.begun.Store(true)
	}
}

// Ended records the end of an RPC of a grpc.ClientConn. It is an RPC that waited for the name in vain if gRPC did not
// report it before, and the name is not resolved.
func (s *Start) Ended(ctx context.Context, clientConn any, method string, err error) {
	if err == nil || s.begun.Load() {
		return
	}
	if code := status.Code(err); code != codes.DeadlineExceeded && code != codes.Canceled {
		return
	}
	z, grpcsOwn := grpcinternals.ChannelzOfClientConn(clientConn)
	s.observer.holds(grpcinternals.ChannelRecord, z.Known() || !grpcsOwn)
	c := s.observer.withID(z.ID)
	if c == nil {
		return
	}
	outcome := outcomeOf(err)
	var refused event.RPCRefused
	c.withLock(func(at time.Time) {
		wait := c.machine.WaitForName(ctx, s.at, at, method)
		if wait == nil {
			return
		}
		wait.End(at, outcome, err)
		if outcome != event.OutcomeCancelled {
			refused = c.machine.Refuse(ctx, at, nil, method, wait.Reason(), err)
			c.machine.Refused(at, refused)
		}
	})
	if refused.Context != nil {
		s.observer.cfg.Notes.Refused(refused)
	}
}

// withID returns the channel with a channelz id, or nil.
func (o *Observer) withID(id int64) *Channel {
	if id == 0 {
		return nil
	}
	for _, c := range o.all() {
		if c.id() == id {
			return c
		}
	}
	return nil
}

func (c *Channel) id() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.channelz.ID
}
