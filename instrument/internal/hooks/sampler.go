package hooks

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/sample"
)

// sampler reads the sockets of the transports now and then. Its timer runs while there are any. Nobody waits for it.
type sampler struct {
	interval  time.Duration // Zero: it is off.
	tell      func(sample.TCP)
	recovered func() // Deferred around what is not redial's own: a socket and a meter.

	flights sync.Map // The keys are *flight.
	ticking atomic.Bool
}

// samples is what was told of one socket.
type samples struct {
	target string
	mu     sync.Mutex
	told   event.TCP
}

func (s *sampler) add(f *flight) {
	if s.interval == 0 || f.probe == nil {
		return
	}
	s.flights.Store(f, nil)
	s.tick()
}

// tick sets the timer, unless it is set.
func (s *sampler) tick() {
	if !s.ticking.Swap(true) {
		time.AfterFunc(s.interval, s.run)
	}
}

func (s *sampler) run() {
	s.flights.Range(func(f, _ any) bool {
		s.sample(f.(*flight))
		return true
	})
	s.ticking.Store(false)
	s.flights.Range(func(any, any) bool { // There are some.
		s.tick()
		return false
	})
}

// sample reads a socket, and tells what it did, unless it is closed.
func (s *sampler) sample(f *flight) {
	defer s.recovered()
	if tcp := f.probe(); tcp != nil {
		s.tellOf(f, tcp)
	}
}

func (s *sampler) tellOf(f *flight, tcp *event.TCP) {
	f.samples.mu.Lock()
	defer f.samples.mu.Unlock()
	last := f.samples.told
	if tcp.Sent < last.Sent { // Read earlier than what was told since.
		return
	}
	f.samples.told = *tcp
	s.tell(sample.TCP{
		Target: f.samples.target, MinRTT: tcp.MinRTT, DeliveryRate: tcp.DeliveryRate,
		Sent: tcp.Sent - last.Sent, Retransmits: tcp.Retransmits - last.Retransmits, Spurious: tcp.Spurious - last.Spurious,
	})
}

// leaving samples the transports of a policy that is about to close those to all addresses but these.
func (s *sampler) leaving(p *policy, stay ...string) {
	if s.interval == 0 {
		return
	}
	var all []*flight
	p.channel.do(func(time.Time) {
		for _, c := range p.all() {
			if f := c.flight.Load(); f != nil && f.probe != nil && !slices.Contains(stay, c.life.Address()) {
				all = append(all, f)
			}
		}
	})
	for _, f := range all {
		s.sample(f)
	}
}

// remove forgets a transport, after what the kernel knew of it when it was lost, if it was asked then.
func (s *sampler) remove(f *flight, atLoss *event.TCP) {
	if s.interval == 0 {
		return
	}
	if _, sampled := s.flights.LoadAndDelete(f); sampled && atLoss != nil {
		s.tellOf(f, atLoss)
	}
}

func (s *sampler) clear() { s.flights.Clear() }
