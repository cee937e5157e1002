package metrics

import (
	"context"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	estats "google.golang.org/grpc/experimental/stats"

	"github.com/redial-dev/redial/instrument/internal/failure"
	"github.com/redial-dev/redial/instrument/internal/signal"
)

// Passed records gRPC's own instruments of gRFC A94 under their own names and labels.
type Passed struct {
	counts  map[string]metric.Int64Counter
	upDowns map[string]metric.Int64UpDownCounter
	target  func(string) (name string, overflow bool)
}

// NewPassed makes the instruments that gRPC registered. The label grpc.target passes through target.
func NewPassed(meter metric.Meter, target func(string) (name string, overflow bool)) (*Passed, error) {
	p := &Passed{counts: map[string]metric.Int64Counter{}, upDowns: map[string]metric.Int64UpDownCounter{}, target: target}
	m := maker{meter: meter}
	for _, name := range signal.GRPC {
		d := estats.DescriptorForMetric(name)
		if d == nil {
			continue
		}
		switch d.Type {
		case estats.MetricTypeIntCount:
			p.counts[name] = m.counter(name, d.Unit, d.Description)
		case estats.MetricTypeIntUpDownCount:
			c, err := meter.Int64UpDownCounter(name, metric.WithUnit(d.Unit), metric.WithDescription(d.Description))
			m.note(err)
			p.upDowns[name] = c
		}
	}
	if len(m.errs) > 0 {
		return p, m.errs[0]
	}
	return p, nil
}

// Count records on a counter that is passed on.
func (p *Passed) Count(d *estats.MetricDescriptor, incr int64, labels []string) {
	if c, ok := p.counts[d.Name]; ok {
		c.Add(context.Background(), incr, metric.WithAttributes(p.attributes(d, labels)...))
	}
}

// UpDown records on an up-down counter that is passed on.
func (p *Passed) UpDown(d *estats.MetricDescriptor, incr int64, labels []string) {
	if c, ok := p.upDowns[d.Name]; ok {
		c.Add(context.Background(), incr, metric.WithAttributes(p.attributes(d, labels)...))
	}
}

// attributes pairs the labels' keys with their values. Optional labels that are empty are left out.
func (p *Passed) attributes(d *estats.MetricDescriptor, labels []string) []attribute.KeyValue {
	var kvs []attribute.KeyValue
	for i, key := range slices.Concat(d.Labels, d.OptionalLabels) {
		if i >= len(labels) {
			break
		}
		value := labels[i]
		switch key {
		case string(signal.Target):
			value, _ = p.target(value)
		case string(signal.DisconnectError):
			value = failure.KnownDisconnect(value)
		}
		if value != "" || i < len(d.Labels) {
			kvs = append(kvs, attribute.String(key, value))
		}
	}
	return kvs
}
