package metrics

import (
	"fmt"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/redial-dev/redial/instrument/internal/guard"
)

// maker makes instruments. What cannot be made, since the meter fails, panics or returns nothing, is one that does
// nothing, and an error.
type maker struct {
	meter metric.Meter
	errs  []error
}

// one returns an instrument, or none where it cannot be made.
func one[T any](m *maker, name string, none T, create func() (T, error)) T {
	made := none
	m.note(guard.Catch(func() error {
		i, err := create()
		if any(i) == nil {
			return fmt.Errorf("instrument %s: the meter returned none (%w)", name, err)
		}
		made = i
		return err
	}))
	return made
}

func (m *maker) note(err error) {
	if err != nil {
		m.errs = append(m.errs, err)
	}
}

func (m *maker) histogram(name, description string, bounds []float64) metric.Float64Histogram {
	return one(m, name, metric.Float64Histogram(noop.Float64Histogram{}), func() (metric.Float64Histogram, error) {
		return m.meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description),
			metric.WithExplicitBucketBoundaries(bounds...))
	})
}

func (m *maker) rates(name, unit, description string, bounds []float64) metric.Int64Histogram {
	return one(m, name, metric.Int64Histogram(noop.Int64Histogram{}), func() (metric.Int64Histogram, error) {
		return m.meter.Int64Histogram(name, metric.WithUnit(unit), metric.WithDescription(description),
			metric.WithExplicitBucketBoundaries(bounds...))
	})
}

func (m *maker) counter(name, unit, description string) metric.Int64Counter {
	return one(m, name, metric.Int64Counter(noop.Int64Counter{}), func() (metric.Int64Counter, error) {
		return m.meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
	})
}

func (m *maker) upDownCounter(name, unit, description string) metric.Int64UpDownCounter {
	return one(m, name, metric.Int64UpDownCounter(noop.Int64UpDownCounter{}),
		func() (metric.Int64UpDownCounter, error) {
			return m.meter.Int64UpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
		})
}

func (m *maker) gauge(name, unit, description string) metric.Int64Gauge {
	return one(m, name, metric.Int64Gauge(noop.Int64Gauge{}), func() (metric.Int64Gauge, error) {
		return m.meter.Int64Gauge(name, metric.WithUnit(unit), metric.WithDescription(description))
	})
}

func (m *maker) upDown(name, unit, description string) metric.Int64ObservableUpDownCounter {
	return one(m, name, metric.Int64ObservableUpDownCounter(noop.Int64ObservableUpDownCounter{}),
		func() (metric.Int64ObservableUpDownCounter, error) {
			return m.meter.Int64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
		})
}

func (m *maker) observed(name, unit, description string) metric.Int64ObservableCounter {
	return one(m, name, metric.Int64ObservableCounter(noop.Int64ObservableCounter{}),
		func() (metric.Int64ObservableCounter, error) {
			return m.meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
		})
}

func (m *maker) intGauge(name, unit, description string) metric.Int64ObservableGauge {
	return one(m, name, metric.Int64ObservableGauge(noop.Int64ObservableGauge{}),
		func() (metric.Int64ObservableGauge, error) {
			return m.meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
		})
}

func (m *maker) floatGauge(name, description string) metric.Float64ObservableGauge {
	return one(m, name, metric.Float64ObservableGauge(noop.Float64ObservableGauge{}),
		func() (metric.Float64ObservableGauge, error) {
			return m.meter.Float64ObservableGauge(name, metric.WithUnit("s"), metric.WithDescription(description))
		})
}
