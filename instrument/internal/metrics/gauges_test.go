package metrics

import (
	"context"
	"errors"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
	"github.com/redial-dev/redial/instrument/internal/sample"
	"github.com/redial-dev/redial/internal/signal"
)

// What there is now is shown from the channel's begin on: a class of failure once seen stays, at 0, and a time that is
// not known is absent and not 1970.
func TestGauges(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	now := sample.ByTarget{}
	s, err := New(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("gauges"))
	if err = errors.Join(err, s.Observe(func() sample.ByTarget { return now })); err != nil {
		t.Fatal(err)
	}
	s.ChannelOpened("a", 1)
	expect(t, reader, map[string]float64{
		signal.ChannelsOpened: 1, signal.Disconnected: 0, signal.ConnectAge: 0, signal.ResolveAge: 0,
		signal.TransportRPCs: 0, signal.StalledTransports: 0,
	}, signal.SubchannelRPCs, signal.ResolveSuccess, signal.TLSServerNotAfter, signal.Disconnected+" "+failure.Timeout)

	of := now.Of("a")
	of.Disconnected[failure.Timeout] = 2
	of.RPCs, of.Stalled = 8, 1
	of.ConnectAge, of.ResolveAge, of.NotAfter = 90*time.Second, 1500*time.Millisecond, time.Unix(2e9, 0)
	s.Handle(context.Background(), event.Resolved{
		Header: event.Header{Target: "a", Time: time.Unix(1_700_000_000, 5e8)}, Addresses: 3, Outcome: event.OutcomeReady,
	})
	expect(t, reader, map[string]float64{
		signal.Disconnected: 0, signal.Disconnected + " " + failure.Timeout: 2, signal.ConnectAge: 90, signal.ResolveAge: 1.5,
		signal.TLSServerNotAfter: 2e9, signal.ResolveSuccess: 1_700_000_000.5, signal.TransportRPCs: 8,
		signal.StalledTransports: 1,
	})

	of.RPCs = 7 // One of them got no stream.
	expect(t, reader, map[string]float64{signal.TransportRPCs: 8})

	now = sample.ByTarget{} // The channel is closed.
	expect(t, reader, map[string]float64{
		signal.Disconnected: 0, signal.Disconnected + " " + failure.Timeout: 0, signal.ConnectAge: 0,
		signal.ResolveSuccess: 1_700_000_000.5,
	}, signal.TLSServerNotAfter)
}

// expect collects, and compares the series of target a, "name class", with their values; others must be absent.
func expect(t *testing.T, reader *sdkmetric.ManualReader, want map[string]float64, absent ...string) {
	t.Helper()
	var rm metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &rm); err != nil {
		t.Fatal(err)
	}
	have := map[string]float64{}
	for _, m := range rm.ScopeMetrics[0].Metrics {
		switch data := m.Data.(type) {
		case metricdata.Gauge[float64]:
			for _, p := range data.DataPoints {
				have[m.Name] = p.Value
			}
		case metricdata.Sum[int64]:
			for _, p := range data.DataPoints {
				key := m.Name
				if class, ok := p.Attributes.Value("error.type"); ok {
					key += " " + class.AsString()
				}
				have[key] = float64(p.Value)
			}
		}
	}
	for key, value := range want {
		if got, ok := have[key]; !ok || got != value {
			t.Errorf("%s is %v (there: %v), want %v", key, got, ok, value)
		}
	}
	for _, key := range absent {
		if value, ok := have[key]; ok {
			t.Errorf("%s is %v, want none", key, value)
		}
	}
}
