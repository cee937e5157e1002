package record

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/redial-dev/redial/instrument/internal/failure"
	"github.com/redial-dev/redial/instrument/internal/guard"
)

const (
	// maxSuspects bounds the transports that are suspected at once.
	maxSuspects = 1024
	// maxTimedOut bounds the RPCs whose transport is looked at in a second.
	maxTimedOut = 1000
	// lookEvery is how often the sockets of suspects are read.
	lookEvery = time.Second
)

// suspects are the transports on which an RPC got no answer until its deadline: the path to the peer may be dead, which
// gRPC does not notice for a quarter of an hour where there is no keepalive. Their sockets are read until it is known.
type suspects struct {
	guard *guard.Guard

	mu sync.Mutex // Guards what follows. No RPC that is answered waits for it.
	// due is since when an answer is due. It is nil unless a timer is set.
	due map[*Transport]time.Time
	// timedOut counts the RPCs of a second, in Unix time.
	timedOut, second int64
}

// add makes a transport suspect, of an RPC that was sent at a time, or returns false if there is too much to look at.
func (s *suspects) add(t *Transport, sent, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.second != now.Unix() {
		s.second, s.timedOut = now.Unix(), 0
	}
	_, known := s.due[t]
	if s.timedOut == maxTimedOut || !known && len(s.due) == maxSuspects {
		return false
	}
	s.timedOut++
	if known {
		return true
	}
	if s.due == nil {
		s.due = map[*Transport]time.Time{}
		time.AfterFunc(lookEvery, s.look)
	}
	s.due[t] = sent
	return true
}

// postpone notes that the peer has acknowledged whatever was sent until then.
func (s *suspects) postpone(t *Transport, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.due[t]; ok {
		s.due[t] = until
	}
}

// look reads the sockets of all suspects.
func (s *suspects) look() {
	s.mu.Lock()
	all := maps.Clone(s.due)
	s.mu.Unlock()
	for t, due := range all {
		again := false
		s.guard.Run(func() { again = t.look(due) })
		if !again {
			s.remove(t, due)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.due) == 0 {
		s.due = nil // A map keeps the memory of all that were ever in it.
		return
	}
	time.AfterFunc(lookEvery, s.look)
}

// remove suspects a transport no more, unless another RPC made it suspect since.
func (s *suspects) remove(t *Transport, due time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.due[t].Equal(due) {
		delete(s.due, t)
	}
}

func (s *suspects) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.due)
}

// look reads the socket, and reports whether a later look may say more.
func (t *Transport) look(due time.Time) (again bool) {
	at := time.Now()
	tcp := t.socket.Info()
	t.channel.withLock(func(time.Time) { again = t.machine.PathSeen(at, due, tcp) })
	return again
}

// noteTimedOut notes on the span of an RPC that got no answer until its deadline what the kernel knows of the path.
func (t *Transport) noteTimedOut(ctx context.Context, began time.Time) {
	o := t.channel.observer
	sent := o.sentAt(ctx, began)
	at := time.Now()
	if t.socket == nil || !o.suspects.add(t, sent, at) {
		return
	}
	tcp := t.socket.Info()
	if tcp == nil {
		return
	}
	path := failure.PathUnknown
	t.channel.withLock(func(time.Time) { path = t.machine.RPCTimedOut(at, sent, tcp) })
	if path == failure.PathAcknowledged { // Its cancellation is not.
		o.suspects.postpone(t, at)
	}
	o.cfg.Notes.TimedOut(ctx, t.machine.ID(), path, tcp)
}

// sentAt returns when an RPC was sent that began at a time: it may have waited.
func (o *Observer) sentAt(ctx context.Context, began time.Time) time.Time {
	if p := o.inContext(ctx); p != nil && p.sent.After(began) {
		return p.sent
	}
	return began
}
