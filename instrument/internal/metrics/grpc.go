package metrics

import (
	"context"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	estats "google.golang.org/grpc/experimental/stats"

	"github.com/redial-dev/redial/instrument/internal/failure"
	"github.com/redial-dev/redial/internal/signal"
	"github.com/redial-dev/redial/internal/text"
)

// GRPC records gRPC's own instruments of gRFC A94 under their own names and labels.
type GRPC struct {
	counts  map[string]metric.Int64Counter
	upDowns map[string]metric.Int64UpDownCounter
	target  func(string) string

	attributes sync.Map // Of grpcSeries to metric.AddOption.
	made       atomic.Int64
}

// NewGRPC makes the instruments that gRPC registered. The label grpc.target passes through target.
func NewGRPC(meter metric.Meter, target func(string) string) (*GRPC, error) {
	g := &GRPC{counts: map[string]metric.Int64Counter{}, upDowns: map[string]metric.Int64UpDownCounter{}, target: target}
	m := maker{meter: meter}
	for _, name := range signal.GRPC {
		d := estats.DescriptorForMetric(name)
		if d == nil {
			continue
		}
		switch d.Type {
		case estats.MetricTypeIntCount:
			g.counts[name] = m.counter(name, d.Unit, d.Description)
		case estats.MetricTypeIntUpDownCount:
			c, err := meter.Int64UpDownCounter(name, metric.WithUnit(d.Unit), metric.WithDescription(d.Description))
			m.note(err)
			g.upDowns[name] = c
		}
	}
	if len(m.errs) > 0 {
		return g, m.errs[0]
	}
	return g, nil
}

// Count records on one of gRPC's counters.
func (g *GRPC) Count(d *estats.MetricDescriptor, incr int64, labels []string) {
	if c, ok := g.counts[d.Name]; ok {
		c.Add(context.Background(), incr, g.with(d, labels))
	}
}

// UpDown records on one of gRPC's up-down counters.
func (g *GRPC) UpDown(d *estats.MetricDescriptor, incr int64, labels []string) {
	if c, ok := g.upDowns[d.Name]; ok {
		c.Add(context.Background(), incr, g.with(d, labels))
	}
}

// maxGRPCSeries bounds the attributes that are kept.
const maxGRPCSeries = 4096

// grpcSeries is what distinguishes the series of an instrument: gRFC A94 has four labels at most.
type grpcSeries struct {
	name   string
	values [4]string
}

// with returns the attributes of a series, which are made once: gRPC waits here while it loses or makes a connection.
func (g *GRPC) with(d *estats.MetricDescriptor, labels []string) metric.AddOption {
	of := grpcSeries{name: d.Name}
	for i := range min(len(labels), len(of.values), len(d.Labels)+len(d.OptionalLabels)) {
		of.values[i] = text.Name(labels[i])
		switch g.key(d, i) {
		case string(signal.Target):
			of.values[i] = g.target(labels[i])
		case string(signal.DisconnectError):
			of.values[i] = failure.KnownDisconnectError(labels[i])
		}
	}
	if made, ok := g.attributes.Load(of); ok {
		return made.(metric.AddOption)
	}
	made := metric.WithAttributeSet(g.set(d, of))
	if g.made.Add(1) <= maxGRPCSeries { // Localities and backend services are not redial's to bound.
		g.attributes.Store(of, made)
	}
	return made
}

// set pairs the labels' keys with their values. Optional labels that are empty are left out.
func (g *GRPC) set(d *estats.MetricDescriptor, of grpcSeries) attribute.Set {
	var kvs []attribute.KeyValue
	for i, value := range of.values {
		if i < len(d.Labels) || i < len(d.Labels)+len(d.OptionalLabels) && value != "" {
			kvs = append(kvs, attribute.String(g.key(d, i), value))
		}
	}
	return attribute.NewSet(kvs...)
}

func (g *GRPC) key(d *estats.MetricDescriptor, i int) string {
	if i < len(d.Labels) {
		return d.Labels[i]
	}
	return d.OptionalLabels[i-len(d.Labels)]
}
