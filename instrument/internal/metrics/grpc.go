package metrics

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	estats "google.golang.org/grpc/experimental/stats"

	"github.com/redial-dev/redial/instrument/internal/failure"
	"github.com/redial-dev/redial/internal/signal"
	"github.com/redial-dev/redial/internal/text"
)

// GRPC records gRPC's own instruments of gRFC A94 under their own names and labels.
type GRPC struct {
	counts     map[string]metric.Int64Counter
	upDowns    map[string]metric.Int64UpDownCounter
	target     func(string) string
	attributes map[GRPCSeries]metric.AddOption
}

// NewGRPC makes the instruments that gRPC registered. The label grpc.target passes through target.
func NewGRPC(meter metric.Meter, target func(string) string) (*GRPC, error) {
	g := &GRPC{
		counts: map[string]metric.Int64Counter{}, upDowns: map[string]metric.Int64UpDownCounter{}, target: target,
		attributes: map[GRPCSeries]metric.AddOption{},
	}
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
			g.upDowns[name] = m.upDownCounter(name, d.Unit, d.Description)
		}
	}
	if len(m.errs) > 0 {
		return g, m.errs[0]
	}
	return g, nil
}

// GRPCSeries is a series of one of gRPC's instruments, as gRPC names it: gRFC A94 has four labels at most.
type GRPCSeries struct {
	d      *estats.MetricDescriptor
	values [4]string
}

// Series returns the series of a measurement, and whether it is passed on.
func (g *GRPC) Series(d *estats.MetricDescriptor, labels []string) (of GRPCSeries, passed bool) {
	of.d = d
	copy(of.values[:], labels)
	return of, g.counts[d.Name] != nil || g.upDowns[d.Name] != nil
}

// Add records on one of gRPC's counters. It must be called by one goroutine at a time.
func (g *GRPC) Add(of GRPCSeries, incr int64) {
	if c, ok := g.counts[of.d.Name]; ok {
		c.Add(context.Background(), incr, g.with(of))
	}
	if c, ok := g.upDowns[of.d.Name]; ok {
		c.Add(context.Background(), incr, g.with(of))
	}
}

// maxGRPCSeries bounds the attributes that are kept.
const maxGRPCSeries = 4096

// with returns the attributes of a series, which are made once.
func (g *GRPC) with(of GRPCSeries) metric.AddOption {
	if made, ok := g.attributes[of]; ok {
		return made
	}
	made := metric.WithAttributeSet(g.set(of))
	if len(g.attributes) < maxGRPCSeries { // Localities and backend services are not redial's to bound.
		g.attributes[of] = made
	}
	return made
}

// set pairs the labels' keys with their values. Optional labels that are empty are left out.
func (g *GRPC) set(of GRPCSeries) attribute.Set {
	var kvs []attribute.KeyValue
	for i, value := range of.values {
		switch key, optional := labelKey(of.d, i); {
		case key == "", optional && value == "":
		case key == string(signal.Target):
			kvs = append(kvs, attribute.String(key, g.target(value)))
		case key == string(signal.DisconnectError):
			kvs = append(kvs, attribute.String(key, failure.KnownDisconnectError(value)))
		default:
			kvs = append(kvs, attribute.String(key, text.Name(value)))
		}
	}
	return attribute.NewSet(kvs...)
}

// labelKey returns the key of a label, or "", and whether the label is optional.
func labelKey(d *estats.MetricDescriptor, i int) (key string, optional bool) {
	if i < len(d.Labels) {
		return d.Labels[i], false
	}
	if i -= len(d.Labels); i < len(d.OptionalLabels) {
		return d.OptionalLabels[i], true
	}
	return "", false
}
