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
	env := newEnvironment(t)
	begun, blocked := make(chan struct{}), make(chan struct{})
	var once sync.Once
	h := env.newHandler(instrument.WithSink(event.SinkFunc(func(context.Context, event.Event) {
		once.Do(func() {
			close(begun)
			<-blocked
		})
	})))
	count := &connections{}
	many := &manyChannels{t: t, address: env.serve("S1", grpc.StatsHandler(count)).address, n: subchannels}
	for _, cc := range many.roundRobin(h.StatsHandler()) {
		env.keep(cc)
		cc.Connect()
	}
	<-begun
	wait(t, "all are connected", func() bool { return count.open.Load() == subchannels })
	close(blocked)
	env.closeAll()
	if err := h.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if n := len(env.recorded()); n < subchannels*eventsEach {
		t.Errorf("the sink has handled %d events, want %d at least", n, subchannels*eventsEach)
	}
	for series, n := range env.collect() {
		if series == "redial.events.dropped redial.sink=queue" {
			t.Errorf("%d events were dropped", n)
		}
	}
	env.shutdown()
}
