package record

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/guard"
	"github.com/redial-dev/redial/instrument/internal/sample"
)

// sampler reads the sockets of the transports now and then. Its timer runs while there are any. Nothing waits for it.
type sampler struct {
	interval time.Duration // Zero: it is off.
	guard    *guard.Guard
	sampled  func(sample.TCP)

	transports sync.Map // The keys are *Transport.
	ticking    atomic.Bool
}

// samples is what was reported of one socket.
type samples struct {
	target string
	mu     sync.Mutex
	last   event.TCP
}

func (s *sampler) add(t *Transport) {
	if s.interval == 0 || t.socket == nil {
		return
	}
	s.transports.Store(t, nil)
	s.tick()
}

// tick sets the timer, unless it is set.
func (s *sampler) tick() {
	if !s.ticking.Swap(true) {
		time.AfterFunc(s.interval, s.run)
	}
}

func (s *sampler) run() {
	s.transports.Range(func(t, _ any) bool {
		s.sample(t.(*Transport))
		return true
	})
	s.ticking.Store(false)
	s.transports.Range(func(any, any) bool { // There are some.
		s.tick()
		return false
	})
}

// sample reads a socket, and reports what it did, unless it is closed.
func (s *sampler) sample(t *Transport) {
	s.guard.Run(func() {
		if tcp := t.socket.Info(); tcp != nil {
			s.report(t, tcp)
		}
	})
}

func (s *sampler) report(t *Transport, tcp *event.TCP) {
	t.samples.mu.Lock()
	defer t.samples.mu.Unlock()
	last := t.samples.last
	if tcp.Sent < last.Sent { // Read earlier than what was reported since.
		return
	}
	t.samples.last = *tcp
	s.sampled(sample.TCP{
		Target: t.samples.target, MinRTT: tcp.MinRTT, DeliveryRate: tcp.DeliveryRate,
		Sent: tcp.Sent - last.Sent, Retransmits: tcp.Retransmits - last.Retransmits, Spurious: tcp.Spurious - last.Spurious,
	})
}

// leaving samples the transports of a policy that is about to close those to all addresses but these.
func (s *sampler) leaving(p *Policy, stay ...string) {
	if s.interval == 0 {
		return
	}
	var all []*Transport
	p.channel.withLock(func(time.Time) {
		for _, sub := range p.all() {
			t := sub.transport.Load()
			if t != nil && t.socket != nil && !slices.Contains(stay, sub.machine.Server) {
				all = append(all, t)
			}
		}
	})
	for _, t := range all {
		s.sample(t)
	}
}

// remove forgets a transport, after what the kernel knew of it when it was lost, if it was asked then.
func (s *sampler) remove(t *Transport, atLoss *event.TCP) {
	if s.interval == 0 {
		return
	}
	if _, sampled := s.transports.LoadAndDelete(t); sampled && atLoss != nil {
		s.report(t, atLoss)
	}
}

func (s *sampler) clear() { s.transports.Clear() }
