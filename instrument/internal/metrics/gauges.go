package metrics

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/guard"
	"github.com/redial-dev/redial/instrument/internal/sample"
	"github.com/redial-dev/redial/internal/signal"
)

// gauges show what is there now. It is counted at each collection, so that hooks have nothing to count, and no lost
// event can make them drift.
type gauges struct {
	channels, subchannels, waiting, disconnected, unhealthy, stalled metric.Int64ObservableUpDownCounter

	rpcs           metric.Int64ObservableCounter
	subchannelRPCs metric.Int64ObservableGauge

	connectAge, resolveAge, resolved, notAfter metric.Float64ObservableGauge

	meter metric.Meter
	count func() sample.ByTarget

	mu           sync.Mutex // Guards what follows.
	registration metric.Registration
	closed       bool
	targets      map[string]*seen // Those that have series, which stay.
}

// seen is what a target's series showed so far.
type seen struct {
	// failures are the classes of failure that kept an endpoint disconnected, and unhealthy those of READY transports.
	failures, unhealthy map[string]struct{}
	resolved            time.Time
	rpcs                int64
}

// states are those in which a channel or subchannel is there.
var states = []event.State{event.StateIdle, event.StateConnecting, event.StateReady, event.StateTransientFailure}

func (m *maker) gauges() *gauges {
	return &gauges{
		meter:   m.meter,
		targets: map[string]*seen{},

		channels:    m.upDown(signal.Channels, "{channel}", "Channels by connectivity state."),
		subchannels: m.upDown(signal.Subchannels, "{subchannel}", "Subchannels by connectivity state."),
		waiting:     m.upDown(signal.PickWaiting, "{rpc}", "RPCs that wait now before they are sent, by the reason."),
		disconnected: m.upDown(signal.Disconnected, "{endpoint}",
			"Endpoints that want a transport and have none, by the class of the last failure."),
		stalled: m.upDown(signal.StalledTransports, "{transport}",
			"Transports that gRPC takes for READY and whose peer acknowledges nothing."),
		unhealthy: m.upDown(signal.UnhealthyEndpoints, "{endpoint}",
			"Endpoints whose transport is READY and gets no RPCs, by the reason."),
		connectAge: m.floatGauge(signal.ConnectAge, "Age of the oldest open connection episode; 0 if there is none."),
		resolveAge: m.floatGauge(signal.ResolveAge,
			"Age of the oldest name resolution without an answer; 0 if there is none."),
		resolved: m.floatGauge(signal.ResolveSuccess, "When the name resolver last gave addresses, in Unix time."),
		notAfter: m.floatGauge(signal.TLSServerNotAfter,
			"When the first of the server certificates of READY transports expires, in Unix time."),
		rpcs: m.observed(signal.TransportRPCs, "{rpc}", "RPCs that were sent over transports."),
		subchannelRPCs: m.intGauge(signal.SubchannelRPCs, "{rpc}",
			"RPCs of the busiest and of the least busy READY subchannel between two collections."),
	}
}

// open makes the gauges show at each collection what is counted then.
func (g *gauges) open(count func() sample.ByTarget) error {
	g.count = count
	registration, err := g.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		return guard.Catch(func() error {
			g.observe(o, count())
			return nil
		})
	}, g.channels, g.subchannels, g.waiting, g.disconnected, g.unhealthy, g.stalled, g.connectAge, g.resolveAge,
		g.resolved, g.notAfter, g.rpcs, g.subchannelRPCs)
	if g.registered(registration) {
		return err
	}
	return errors.Join(err, g.close()) // A meter that took its time.
}

// registered keeps the registration, and reports whether the gauges were not closed before.
func (g *gauges) registered(r metric.Registration) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.registration = r
	return !g.closed
}

func (g *gauges) observe(o metric.Observer, now sample.ByTarget) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for target := range now {
		g.add(target)
	}
	for target, before := range g.targets {
		of := now.Of(target)
		for _, s := range states {
			o.ObserveInt64(g.channels, of.Channels[s], in(target, signal.ChannelState, s))
			o.ObserveInt64(g.subchannels, of.Subchannels[s], in(target, signal.SubchannelState, s))
		}
		only := metric.WithAttributes(signal.Target.String(target))
		for _, reason := range event.WaitReasons {
			o.ObserveInt64(g.waiting, of.Waiting[reason], metric.WithAttributes(
				signal.Target.String(target), signal.WaitReason.String(string(reason))))
		}
		for class := range of.Disconnected {
			before.failures[class] = struct{}{}
		}
		for class := range before.failures {
			o.ObserveInt64(g.disconnected, of.Disconnected[class], withClass(target, class))
		}
		o.ObserveInt64(g.stalled, of.Stalled, only)
		for class := range of.Unhealthy {
			before.unhealthy[class] = struct{}{}
		}
		for class := range before.unhealthy {
			o.ObserveInt64(g.unhealthy, of.Unhealthy[class], withClass(target, class))
		}
		o.ObserveFloat64(g.connectAge, of.ConnectAge.Seconds(), only)
		o.ObserveFloat64(g.resolveAge, of.ResolveAge.Seconds(), only)
		if !before.resolved.IsZero() {
			o.ObserveFloat64(g.resolved, unix(before.resolved), only)
		}
		if !of.NotAfter.IsZero() {
			o.ObserveFloat64(g.notAfter, unix(of.NotAfter), only)
		}
		// One that gRPC found no stream for counts until then.
		before.rpcs = max(before.rpcs, of.RPCs)
		o.ObserveInt64(g.rpcs, before.rpcs, only)
		if of.Spread.Subchannels > 0 {
			o.ObserveInt64(g.subchannelRPCs, of.Spread.Busiest, ranked(target, "busiest"))
			o.ObserveInt64(g.subchannelRPCs, of.Spread.LeastBusy, ranked(target, "least_busy"))
		}
	}
}

// see makes a target have series, even if it is gone before the next collection.
func (g *gauges) see(target string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.add(target)
}

// resolve records that a resolver gave addresses.
func (g *gauges) resolve(target string, at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if of := g.add(target); at.After(of.resolved) {
		of.resolved = at
	}
}

func (g *gauges) add(target string) *seen {
	of, ok := g.targets[target]
	if !ok {
		of = &seen{failures: map[string]struct{}{"": {}}, unhealthy: map[string]struct{}{}}
		g.targets[target] = of
	}
	return of
}

func in(target string, key attribute.Key, s event.State) metric.ObserveOption {
	return metric.WithAttributes(signal.Target.String(target), key.String(string(s)))
}

func ranked(target, rank string) metric.ObserveOption {
	return metric.WithAttributes(signal.Target.String(target), signal.SubchannelRank.String(rank))
}

func withClass(target, class string) metric.ObserveOption {
	if class == "" {
		return metric.WithAttributes(signal.Target.String(target))
	}
	return metric.WithAttributes(signal.Target.String(target), semconv.ErrorTypeKey.String(class))
}

// unix returns a time as Prometheus writes it: in seconds, to the millisecond.
func unix(at time.Time) float64 { return float64(at.UnixMilli()) / 1000 }

// close makes the gauges show nothing any more, and the counter of RPCs its last value, as every counter does: it is
// exported when the provider is shut down, or at the next collection.
func (g *gauges) close() error {
	g.mu.Lock()
	registration := g.registration
	g.closed, g.registration = true, nil
	g.mu.Unlock()
	if registration == nil {
		return nil
	}
	if err := registration.Unregister(); err != nil {
		return err
	}
	last := g.lastRPCs()
	_, err := g.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for target, n := range last {
			o.ObserveInt64(g.rpcs, n, metric.WithAttributes(signal.Target.String(target)))
		}
		return nil
	}, g.rpcs)
	return err
}

// lastRPCs returns how many RPCs were sent, by target.
func (g *gauges) lastRPCs() map[string]int64 {
	now := g.count()
	g.mu.Lock()
	defer g.mu.Unlock()
	last := map[string]int64{}
	for target := range now {
		g.add(target)
	}
	for target, before := range g.targets {
		last[target] = max(before.rpcs, now.Of(target).RPCs)
	}
	return last
}
