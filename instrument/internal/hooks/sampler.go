package hooks

import (
	"sync"
	"time"

	"github.com/redial-dev/redial/instrument/event"
)

// sampler reads the sockets of the transports now and then. Its timer runs while there are any.
type sampler struct {
	interval time.Duration // Zero: it is off.
	tell     func(event.TCPSample)

	mu      sync.Mutex
	flights map[*flight]event.TCP // With what was told of them.
	ticking bool
}

func (s *sampler) add(f *flight) {
	if s.interval == 0 || f.probe == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flights == nil {
		s.flights = map[*flight]event.TCP{}
	}
	s.flights[f] = event.TCP{}
	s.tick()
}

// tick sets the timer, unless it is set. The caller holds the lock.
func (s *sampler) tick() {
	if !s.ticking && len(s.flights) > 0 {
		s.ticking = true
		time.AfterFunc(s.interval, s.run)
	}
}

func (s *sampler) run() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ticking = false
	for f := range s.flights {
		s.sample(f)
	}
	s.tick()
}

// sample tells what a socket did. The caller holds the lock.
func (s *sampler) sample(f *flight) {
	tcp := f.probe()
	if tcp == nil { // Closed.
		return
	}
	last := s.flights[f]
	s.flights[f] = *tcp
	s.tell(event.TCPSample{
		Target: f.target, MinRTT: tcp.MinRTT, DeliveryRate: tcp.DeliveryRate,
		Sent: tcp.Sent - last.Sent, Retransmits: tcp.Retransmits - last.Retransmits, Spurious: tcp.Spurious - last.Spurious,
	})
}

// lost samples the transports of a channel that lost one, while its socket is still open.
func (s *sampler) lost(c *channel) {
	if s.interval == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for f := range s.flights {
		if f.channel == c {
			s.sample(f)
		}
	}
}

func (s *sampler) remove(f *flight) {
	if s.interval == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.flights, f)
}

func (s *sampler) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.flights)
}
