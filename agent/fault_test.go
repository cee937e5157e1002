package agent_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	promclient "github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	otelmetric "go.opentelemetry.io/otel/metric"
	noopmetric "go.opentelemetry.io/otel/metric/noop"

	"github.com/redial-dev/redial/agent"
	"github.com/redial-dev/redial/exporters/otlp"
)

// A handler of errors that panics or blocks does no more than miss errors: what the agent reports while it starts,
// exports and shuts down waits for nothing.
func TestFaultyErrorHandler(t *testing.T) {
	for name, fault := range map[string]func(stop chan struct{}){
		"panics": func(chan struct{}) { panic("a handler's fault") },
		"blocks": func(stop chan struct{}) { <-stop },
	} {
		t.Run(name, func(t *testing.T) {
			quickly(t)
			stop, called := make(chan struct{}), make(chan struct{}, 1000)
			defer close(stop)
			otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
				if strings.HasPrefix(err.Error(), "redial") { // The SDK's own reports are its own affair.
					called <- struct{}{}
					fault(stop)
				}
			}))
			t.Cleanup(func() { otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {})) })
			t.Setenv("REDIAL_UNKNOWN", "x")
			t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1")
			a, err := agent.Start(t.Context(), endpoint(otlp.HTTPProtobuf, freeAddress(t)))
			if err != nil {
				t.Fatal(err)
			}
			failOnce(t, a, freeAddress(t))
			<-called
			eventually(t, "a count of what is lost", func() bool {
				return len(metric(a, "redial_events_dropped_total")) > 0
			})
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			if err := a.Shutdown(ctx); err == nil {
				t.Error("Shutdown says that all was sent")
			}
		})
	}
}

// faultyProvider is a MeterProvider whose meters make callbacks and gauges by functions.
type faultyProvider struct {
	otelmetric.MeterProvider
	faultyMeter
}

func (p faultyProvider) Meter(name string, opts ...otelmetric.MeterOption) otelmetric.Meter {
	p.faultyMeter.Meter = p.MeterProvider.Meter(name, opts...)
	return p.faultyMeter
}

type faultyMeter struct {
	otelmetric.Meter
	gauge    func() (otelmetric.Int64ObservableGauge, error)
	register func() (otelmetric.Registration, error)
}

func (m faultyMeter) Int64ObservableGauge(
	name string, opts ...otelmetric.Int64ObservableGaugeOption,
) (otelmetric.Int64ObservableGauge, error) {
	if m.gauge != nil {
		return m.gauge()
	}
	return m.Meter.Int64ObservableGauge(name, opts...)
}

func (m faultyMeter) RegisterCallback(
	f otelmetric.Callback, of ...otelmetric.Observable,
) (otelmetric.Registration, error) {
	if m.register != nil {
		return m.register()
	}
	return m.Meter.RegisterCallback(f, of...)
}

// A MeterProvider of the user's that fails, panics or returns nothing is an error of Start, which leaves nothing
// behind: the port is free, and no exporter runs (that no goroutine is left, TestMain holds).
func TestFaultyMeterProvider(t *testing.T) {
	for want, faulty := range map[string]faultyMeter{
		"no room":         {register: func() (otelmetric.Registration, error) { return nil, errors.New("no room") }},
		"a meter's fault": {register: func() (otelmetric.Registration, error) { panic("a meter's fault") }},
		"no instrument":   {gauge: func() (otelmetric.Int64ObservableGauge, error) { return nil, nil }},
	} {
		t.Run(want, func(t *testing.T) {
			address := freeAddress(t)
			_, err := agent.Start(t.Context(), agent.WithListen(address), endpoint(otlp.GRPC, freeAddress(t)),
				agent.WithMeterProvider(faultyProvider{noopmetric.NewMeterProvider(), faulty}))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Start: %v, want %q", err, want)
			}
			lis, err := net.Listen("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			if err := lis.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A meter that returns no registration leaves nothing to end.
func TestNoRegistration(t *testing.T) {
	start(t, agent.WithMeterProvider(faultyProvider{noopmetric.NewMeterProvider(), faultyMeter{
		register: func() (otelmetric.Registration, error) { return nil, nil },
	}}))
}

// When Shutdown returns, the port and the registry are free, however long an export takes to give up.
func TestReleasedByShutdown(t *testing.T) {
	newReports(t)
	c := collect(t, "127.0.0.1:0")
	c.behave(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-c.stop:
		case <-r.Context().Done():
		}
	})
	registry, address := promclient.NewRegistry(), freeAddress(t)
	for range 3 {
		a, err := agent.Start(t.Context(), agent.WithRegistry(registry), agent.WithListen(address),
			endpoint(otlp.HTTPProtobuf, c.address))
		if err != nil {
			t.Fatal(err)
		}
		failOnce(t, a, freeAddress(t))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if err := a.Shutdown(ctx); err == nil {
			t.Error("Shutdown says that all was sent")
		}
		cancel()
	}
}
