package metrics

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/sample"
	"github.com/redial-dev/redial/internal/signal"
)

// gauges tell what is there now. It is counted at each collection, so that hooks have nothing to count, and no lost event
// can make them drift.
type gauges struct {
	registration metric.Registration

	mu      sync.Mutex
	targets map[string]struct{} // Those that have series, which stay.
}

// states are those in which a channel or subchannel is there.
var states = []event.State{event.StateIdle, event.StateConnecting, event.StateReady, event.StateTransientFailure}

func (m *maker) gauges(count func() sample.ByTarget) *gauges {
	g := &gauges{targets: map[string]struct{}{}}
	channels := m.upDown(signal.Channels, "{channel}", "Channels by connectivity state.")
	subchannels := m.upDown(signal.Subchannels, "{subchannel}", "Subchannels by connectivity state.")
	waiting := m.upDown(signal.PickWaiting, "{rpc}", "RPCs that wait for a transport now.")
	registration, err := m.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		now := count()
		for target := range now {
			g.see(target)
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		for target := range g.targets {
			of := now.Of(target)
			for _, s := range states {
				o.ObserveInt64(channels, of.Channels[s], in(target, signal.ChannelState, s))
				o.ObserveInt64(subchannels, of.Subchannels[s], in(target, signal.SubchannelState, s))
			}
			o.ObserveInt64(waiting, of.Waiting, metric.WithAttributes(signal.Target.String(target)))
		}
		return nil
	}, channels, subchannels, waiting)
	m.note(err)
	g.registration = registration
	return g
}

// see makes that a target has series, even if it is gone before the next collection.
func (g *gauges) see(target string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.targets[target] = struct{}{}
}

func in(target string, key attribute.Key, s event.State) metric.ObserveOption {
	return metric.WithAttributes(signal.Target.String(target), key.String(string(s)))
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
