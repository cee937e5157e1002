package instrument_test

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	nooptrace "go.opentelemetry.io/otel/trace/noop"

	"github.com/redial-dev/redial/instrument"
)

// meteredBy returns the option of a meter provider of the official SDK.
func meteredBy(opt sdkmetric.Option) []instrument.Option {
	p := sdkmetric.NewMeterProvider(opt, sdkmetric.WithReader(sdkmetric.NewManualReader()))
	return []instrument.Option{instrument.WithMeterProvider(p)}
}

func viewed(f *fault) []instrument.Option {
	return meteredBy(sdkmetric.WithView(func(i sdkmetric.Instrument) (sdkmetric.Stream, bool) {
		return sdkmetric.Stream{Name: i.Name}, !f.returnsNothing()
	}))
}

func attributesFiltered(f *fault) []instrument.Option {
	return meteredBy(sdkmetric.WithView(sdkmetric.NewView(sdkmetric.Instrument{Name: "*"}, sdkmetric.Stream{
		AttributeFilter: func(attribute.KeyValue) bool { return !f.returnsNothing() },
	})))
}

// meterAt returns the option of a meter provider that is faulty at one call.
func meterAt(where at) func(*fault) []instrument.Option {
	return func(f *fault) []instrument.Option {
		p := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
		return []instrument.Option{instrument.WithMeterProvider(brokenMeters{p, where, f})}
	}
}

type brokenMeters struct {
	metric.MeterProvider
	at at
	f  *fault
}

func (p brokenMeters) Meter(name string, opts ...metric.MeterOption) metric.Meter {
	if p.at == ofProvider {
		if p.f.returnsNothing() {
			return nil
		}
	}
	return brokenMeter{p.MeterProvider.Meter(name, opts...), p.at, p.f}
}

type brokenMeter struct {
	metric.Meter
	at at
	f  *fault
}

// faulty returns an instrument, or none.
func faulty[T any](m brokenMeter, make func() (T, error)) (none T, err error) {
	if m.at == ofMaking {
		if nothing, err := m.f.occurs(); nothing {
			return none, err
		}
	}
	return make()
}

type brokenCounter struct {
	metric.Int64Counter
	m brokenMeter
}

func (c brokenCounter) Add(ctx context.Context, n int64, opts ...metric.AddOption) {
	c.m.used()
	c.Int64Counter.Add(ctx, n, opts...)
}

type brokenHistogram struct {
	metric.Float64Histogram
	m brokenMeter
}

func (h brokenHistogram) Record(ctx context.Context, v float64, opts ...metric.RecordOption) {
	h.m.used()
	h.Float64Histogram.Record(ctx, v, opts...)
}

func (m brokenMeter) used() {
	if m.at == ofUse {
		_, _ = m.f.occurs()
	}
}

func (m brokenMeter) Int64Counter(name string, opts ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	return faulty(m, func() (metric.Int64Counter, error) {
		c, err := m.Meter.Int64Counter(name, opts...)
		return brokenCounter{c, m}, err
	})
}

func (m brokenMeter) Float64Histogram(
	name string, opts ...metric.Float64HistogramOption,
) (metric.Float64Histogram, error) {
	return faulty(m, func() (metric.Float64Histogram, error) {
		h, err := m.Meter.Float64Histogram(name, opts...)
		return brokenHistogram{h, m}, err
	})
}

func (m brokenMeter) Int64UpDownCounter(
	name string, opts ...metric.Int64UpDownCounterOption,
) (metric.Int64UpDownCounter, error) {
	return faulty(m, func() (metric.Int64UpDownCounter, error) { return m.Meter.Int64UpDownCounter(name, opts...) })
}

func (m brokenMeter) Int64Gauge(name string, opts ...metric.Int64GaugeOption) (metric.Int64Gauge, error) {
	return faulty(m, func() (metric.Int64Gauge, error) { return m.Meter.Int64Gauge(name, opts...) })
}

func (m brokenMeter) Int64ObservableUpDownCounter(
	name string, opts ...metric.Int64ObservableUpDownCounterOption,
) (metric.Int64ObservableUpDownCounter, error) {
	return faulty(m, func() (metric.Int64ObservableUpDownCounter, error) {
		return m.Meter.Int64ObservableUpDownCounter(name, opts...)
	})
}

func (m brokenMeter) Float64ObservableGauge(
	name string, opts ...metric.Float64ObservableGaugeOption,
) (metric.Float64ObservableGauge, error) {
	return faulty(m, func() (metric.Float64ObservableGauge, error) {
		return m.Meter.Float64ObservableGauge(name, opts...)
	})
}

func (m brokenMeter) RegisterCallback(f metric.Callback, of ...metric.Observable) (metric.Registration, error) {
	if m.at == ofCallback {
		if none, err := m.f.occurs(); none {
			return nil, err
		}
	}
	r, err := m.Meter.RegisterCallback(f, of...)
	return brokenRegistration{r, m}, err
}

type brokenRegistration struct {
	metric.Registration
	m brokenMeter
}

func (r brokenRegistration) Unregister() error {
	if r.m.at == ofRegistration {
		if none, err := r.m.f.occurs(); none {
			return err
		}
	}
	return r.Registration.Unregister()
}

// tracedBy returns the option of a tracer provider of the official SDK.
func tracedBy(opt sdktrace.TracerProviderOption) []instrument.Option {
	return []instrument.Option{instrument.WithTracerProvider(sdktrace.NewTracerProvider(opt))}
}

// tracerAt returns the option of a tracer provider that is faulty at one call.
func tracerAt(where at) func(*fault) []instrument.Option {
	return func(f *fault) []instrument.Option {
		return []instrument.Option{instrument.WithTracerProvider(brokenTracers{nooptrace.NewTracerProvider(), where, f})}
	}
}

type brokenTracers struct {
	trace.TracerProvider
	at at
	f  *fault
}

func (p brokenTracers) Tracer(name string, opts ...trace.TracerOption) trace.Tracer {
	if p.at == ofProvider {
		if p.f.returnsNothing() {
			return nil
		}
	}
	return brokenTracer{p.TracerProvider.Tracer(name, opts...), p}
}

type brokenTracer struct {
	trace.Tracer
	p brokenTracers
}

func (t brokenTracer) Start(
	ctx context.Context, name string, opts ...trace.SpanStartOption,
) (context.Context, trace.Span) {
	if t.p.at == ofMaking {
		if t.p.f.returnsNothing() {
			return nil, nil
		}
	}
	ctx, span := t.Tracer.Start(ctx, name, opts...)
	return ctx, brokenSpan{span, t.p}
}

type brokenSpan struct {
	trace.Span
	p brokenTracers
}

func (s brokenSpan) used() {
	if s.p.at == ofUse {
		_, _ = s.p.f.occurs()
	}
}

func (s brokenSpan) End(...trace.SpanEndOption)              { s.used() }
func (s brokenSpan) AddEvent(string, ...trace.EventOption)   { s.used() }
func (s brokenSpan) AddLink(trace.Link)                      { s.used() }
func (s brokenSpan) SetStatus(codes.Code, string)            { s.used() }
func (s brokenSpan) SetAttributes(...attribute.KeyValue)     { s.used() }
func (s brokenSpan) IsRecording() bool                       { s.used(); return true }
func (s brokenSpan) RecordError(error, ...trace.EventOption) { s.used() }

func (s brokenSpan) SpanContext() trace.SpanContext {
	s.used()
	return s.Span.SpanContext()
}

func sampled(f *fault) []instrument.Option { return tracedBy(sdktrace.WithSampler(brokenSampler{f})) }

type brokenSampler struct{ f *fault }

func (s brokenSampler) ShouldSample(sdktrace.SamplingParameters) sdktrace.SamplingResult {
	_, _ = s.f.occurs()
	return sdktrace.SamplingResult{}
}

func (brokenSampler) Description() string { return "broken" }

func processed(f *fault) []instrument.Option {
	return tracedBy(sdktrace.WithSpanProcessor(brokenProcessor{f}))
}

type brokenProcessor struct{ f *fault }

func (p brokenProcessor) OnStart(context.Context, sdktrace.ReadWriteSpan) { _, _ = p.f.occurs() }
func (p brokenProcessor) OnEnd(sdktrace.ReadOnlySpan)                     { _, _ = p.f.occurs() }
func (brokenProcessor) Shutdown(context.Context) error                    { return nil }
func (brokenProcessor) ForceFlush(context.Context) error                  { return nil }
