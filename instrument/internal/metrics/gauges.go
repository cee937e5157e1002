package metrics

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/signal"
)

// gauges count what is there now. The counts are kept here and read at each collection: no lost event can make them
// drift.
type gauges struct {
	registration metric.Registration

	mu                             sync.Mutex
	channels, subchannels, waiting tally
}

// tally counts things by target and state. A count that falls to zero stays, so that its series does too.
type tally map[place]int64

type place struct{ target, state string }

// move takes one from one state to another; an empty state is nowhere.
func (t tally) move(target string, from, to event.State) {
	if from != "" && from != event.Shutdown {
		t[place{target, string(from)}]--
	}
	if to != event.Shutdown {
		t[place{target, string(to)}]++
	}
}

func (g *gauges) count(e event.Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch e := e.(type) {
	case event.ChannelState:
		g.channels.move(e.Target, e.From, e.To)
	case event.SubchannelState:
		g.subchannels.move(e.Target, e.From, e.To)
	case event.PickWaitStarted:
		g.waiting[place{target: e.Target}]++
	case event.PickWaitEnded:
		g.waiting[place{target: e.Target}]--
	}
}

func (m *maker) gauges(refresh func()) *gauges {
	g := &gauges{channels: tally{}, subchannels: tally{}, waiting: tally{}}
	channels := m.upDown(signal.Channels, "{channel}", "Channels by connectivity state.")
	subchannels := m.upDown(signal.Subchannels, "{subchannel}", "Subchannels by connectivity state.")
	waiting := m.upDown(signal.PickWaiting, "{rpc}", "RPCs that wait for a transport now.")
	registration, err := m.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		refresh()
		g.mu.Lock()
		defer g.mu.Unlock()
		g.channels.observe(o, channels, signal.ChannelState)
		g.subchannels.observe(o, subchannels, signal.SubchannelState)
		g.waiting.observe(o, waiting, "")
		return nil
	}, channels, subchannels, waiting)
	m.note(err)
	g.registration = registration
	return g
}

func (t tally) observe(o metric.Observer, instrument metric.Int64Observable, state attribute.Key) {
	for p, n := range t {
		of := []attribute.KeyValue{signal.Target.String(p.target)}
		if state != "" {
			of = append(of, state.String(p.state))
		}
		o.ObserveInt64(instrument, n, metric.WithAttributes(of...))
	}
}

func (g *gauges) close() error {
	if g.registration == nil {
		return nil
	}
	return g.registration.Unregister()
}

func (m *maker) upDown(name, unit, description string) metric.Int64ObservableUpDownCounter {
	c, err := m.meter.Int64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
	m.note(err)
	return c
}
