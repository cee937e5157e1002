package instrument_test

import (
	"context"
	"sync"
	"testing"

	"google.golang.org/grpc"

	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/instrument/event"
)

// All subchannels may connect at once while the sinks are slow: the queue has room for each, and nothing is dropped.
func TestManySubchannelsAtOnce(t *testing.T) {
	const (
		subchannels = 2000
		eventsEach  = 8 // At least, of one that connects.
	)
	s := newScene(t)
	begun, blocked := make(chan struct{}), make(chan struct{})
	var once sync.Once
	h := s.newHandler(instrument.WithSink(event.SinkFunc(func(context.Context, event.Event) {
		once.Do(func() {
			close(begun)
			<-blocked
		})
	})))
	count := &connections{}
	c := &crowd{t: t, address: s.serve("S1", grpc.StatsHandler(count)).address, n: subchannels}
	for _, cc := range c.roundRobin(h.StatsHandler()) {
		s.keep(cc)
		cc.Connect()
	}
	<-begun
	wait(t, "all are connected", func() bool { return count.open.Load() == subchannels })
	close(blocked)
	s.closeAll()
	if err := h.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if told := len(s.told()); told < subchannels*eventsEach {
		t.Errorf("%d events were told, want %d at least", told, subchannels*eventsEach)
	}
	for series, n := range s.collect() {
		if series == "redial.events.dropped redial.sink=queue" {
			t.Errorf("%d events were dropped", n)
		}
	}
	s.shutdown()
}
