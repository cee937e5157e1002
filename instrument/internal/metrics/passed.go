package metrics

import (
	"context"
	"sync"
	"sync/atomic"

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

	attributes sync.Map // Of passedSeries to metric.AddOption.
	made       atomic.Int64
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
		c.Add(context.Background(), incr, p.with(d, labels))
	}
}

// UpDown records on an up-down counter that is passed on.
func (p *Passed) UpDown(d *estats.MetricDescriptor, incr int64, labels []string) {
	if c, ok := p.upDowns[d.Name]; ok {
		c.Add(context.Background(), incr, p.with(d, labels))
	}
}

// maxPassedSeries bounds the attributes that are kept.
const maxPassedSeries = 4096

// passedSeries is what tells the series of an instrument apart: gRFC A94 has four labels at most.
type passedSeries struct {
	name   string
	values [4]string
}

// with returns the attributes of a series, which are made once: gRPC waits here while it loses or makes a connection.
func (p *Passed) with(d *estats.MetricDescriptor, labels []string) metric.AddOption {
	of := passedSeries{name: d.Name}
	for i := range min(len(labels), len(of.values), len(d.Labels)+len(d.OptionalLabels)) {
		of.values[i] = labels[i]
		switch p.key(d, i) {
		case string(signal.Target):
			of.values[i], _ = p.target(labels[i])
		case string(signal.DisconnectError):
			of.values[i] = failure.KnownDisconnect(labels[i])
		}
	}
	if made, ok := p.attributes.Load(of); ok {
		return made.(metric.AddOption)
	}
	made := metric.WithAttributeSet(p.set(d, of))
	if p.made.Add(1) <= maxPassedSeries { // Localities and backend services are not redial's to bound.
		p.attributes.Store(of, made)
	}
	return made
}

// set pairs the labels' keys with their values. Optional labels that are empty are left out.
func (p *Passed) set(d *estats.MetricDescriptor, of passedSeries) attribute.Set {
	var kvs []attribute.KeyValue
	for i, value := range of.values {
		if i < len(d.Labels) || i < len(d.Labels)+len(d.OptionalLabels) && value != "" {
			kvs = append(kvs, attribute.String(p.key(d, i), value))
		}
	}
	return attribute.NewSet(kvs...)
}

func (p *Passed) key(d *estats.MetricDescriptor, i int) string {
	if i < len(d.Labels) {
		return d.Labels[i]
	}
	return d.OptionalLabels[i-len(d.Labels)]
}
