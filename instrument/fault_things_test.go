package instrument_test

//lint:file-ignore SA1019 A policy has every method of what it stands for, those too that gRPC deprecated and still calls.

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	nooptrace "go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/pickfirst"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"

	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/eventlog"
)

// at is which call of something is faulty.
type at string

const (
	ofProvider     at = "a provider's only call"
	ofMaking       at = "the making of an instrument or a span"
	ofCallback     at = "RegisterCallback"
	ofRegistration at = "Unregister"
	ofUse          at = "the use of an instrument or a span"
	ofBuild        at = "Build"
	ofAnswer       at = "UpdateState of a resolver"
	ofAsking       at = "ResolveNow"
	ofClosing      at = "Close"
	ofPicker       at = "UpdateState of a policy"
	ofPick         at = "Pick"
	ofText         at = "String"
)

// goroutinesOfRedial counts those that redial started.
func goroutinesOfRedial() int {
	all := make([]byte, 1<<20)
	return bytes.Count(all[:runtime.Stack(all, true)], []byte("\ncreated by github.com/redial-dev/redial/instrument"))
}

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

func sunk(f *fault) []instrument.Option {
	sink := event.SinkFunc(func(context.Context, event.Event) { _, _ = f.occurs() })
	return []instrument.Option{instrument.WithSink(sink)}
}

func targetsFiltered(f *fault) []instrument.Option {
	return []instrument.Option{instrument.WithTargetFilter(func(string) bool { return !f.returnsNothing() })}
}

func targetsRenamed(f *fault) []instrument.Option {
	return []instrument.Option{instrument.WithTargetRename(func(string) string { _, _ = f.occurs(); return "" })}
}

// reported makes that there is something to report to the handler of errors.
func reported(f *fault) []instrument.Option {
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) { _, _ = f.occurs() }))
	return sunk(&fault{mode: panics})
}

func logged(f *fault) []instrument.Option {
	return []instrument.Option{instrument.WithSink(eventlog.New(brokenLog{f}))}
}

type brokenLog struct{ f *fault }

func (brokenLog) Enabled(context.Context, slog.Level) bool { return true }
func (l brokenLog) Handle(context.Context, slog.Record) error {
	_, err := l.f.occurs()
	return err
}
func (l brokenLog) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l brokenLog) WithGroup(string) slog.Handler      { return l }

// returnsNothing is occurs for a call that returns no error.
func (f *fault) returnsNothing() bool {
	none, _ := f.occurs()
	return none
}

// dial is a dialer.
func (f *fault) dial(ctx context.Context, _ string) (net.Conn, error) {
	f.hits.Add(1)
	if f.mode == blocks {
		select {
		case <-f.released:
		case <-ctx.Done():
		}
	}
	return nil, errFault
}

func dialed(f *fault, to string, _ *instrument.Handler) (string, []grpc.DialOption) {
	return to, []grpc.DialOption{insecureOption, grpc.WithContextDialer(f.dial)}
}

// passedOn returns the option of a dialer that redial calls, where there is redial.
func passedOn(f *fault, to string, h *instrument.Handler) (string, []grpc.DialOption) {
	dial := f.dial
	if h != nil {
		dial = h.Dialer(f.dial)
	}
	return to, []grpc.DialOption{insecureOption, grpc.WithContextDialer(dial)}
}

// conns returns the option of a dialer whose connections are faulty.
func conns(wrap func(*fault, net.Conn) net.Conn) channelOptions {
	return func(f *fault, to string, _ *instrument.Handler) (string, []grpc.DialOption) {
		return to, []grpc.DialOption{insecureOption, grpc.WithContextDialer(
			func(ctx context.Context, address string) (net.Conn, error) {
				c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
				if err != nil {
					return nil, err
				}
				return wrap(f, c), nil
			})}
	}
}

type brokenAddr struct{ f *fault }

func (a brokenAddr) Network() string {
	_, _ = a.f.occurs()
	return ""
}

func (a brokenAddr) String() string {
	_, _ = a.f.occurs()
	return ""
}

type textless struct {
	net.Conn
	f *fault
}

func (c textless) LocalAddr() net.Addr  { return brokenAddr{c.f} }
func (c textless) RemoteAddr() net.Addr { return brokenAddr{c.f} }

type localless struct {
	net.Conn
	f *fault
}

func (c localless) LocalAddr() net.Addr {
	_, _ = c.f.occurs()
	return nil
}

type remoteless struct {
	net.Conn
	f *fault
}

func (c remoteless) RemoteAddr() net.Addr {
	_, _ = c.f.occurs()
	return nil
}

type unclosed struct {
	net.Conn
	f *fault
}

func (c unclosed) Close() error {
	_ = c.Conn.Close()
	_, err := c.f.occurs()
	return err
}

type socketless struct {
	net.Conn
	f *fault
}

func (c socketless) SyscallConn() (syscall.RawConn, error) {
	_, err := c.f.occurs()
	return nil, err
}

type timeless struct {
	net.Conn
	f *fault
}

func (c timeless) SetDeadline(time.Time) error {
	_, err := c.f.occurs()
	return err
}
func (c timeless) SetReadDeadline(t time.Time) error  { return c.SetDeadline(t) }
func (c timeless) SetWriteDeadline(t time.Time) error { return c.SetDeadline(t) }

func secured(f *fault, to string, _ *instrument.Handler) (string, []grpc.DialOption) {
	return to, []grpc.DialOption{grpc.WithTransportCredentials(brokenCredentials{insecure.NewCredentials(), f})}
}

// brokenCredentials have an AuthInfo that is faulty, or fail.
type brokenCredentials struct {
	credentials.TransportCredentials
	f *fault
}

func (c brokenCredentials) Clone() credentials.TransportCredentials { return c }

func (c brokenCredentials) ClientHandshake(
	_ context.Context, _ string, conn net.Conn,
) (net.Conn, credentials.AuthInfo, error) {
	switch c.f.mode {
	case nothing, fails:
		_, err := c.f.occurs()
		return conn, nil, err
	}
	return conn, brokenAuthInfo{c.f}, nil
}

type brokenAuthInfo struct{ f *fault }

func (i brokenAuthInfo) AuthType() string {
	_, _ = i.f.occurs()
	return ""
}

// resolvers returns the options of a channel whose resolver is faulty at one call.
func resolvers(where at) channelOptions {
	return func(f *fault, to string, h *instrument.Handler) (string, []grpc.DialOption) {
		var b resolver.Builder = brokenResolvers{where, f, to}
		if h != nil {
			b = instrument.WrapResolver(b)
		}
		return "broken:///", []grpc.DialOption{insecureOption, grpc.WithNoProxy(), grpc.WithResolvers(b)}
	}
}

type brokenResolvers struct {
	at at
	f  *fault
	to string
}

func (brokenResolvers) Scheme() string { return "broken" }

func (b brokenResolvers) Build(
	_ resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions,
) (resolver.Resolver, error) {
	switch b.at {
	case ofBuild:
		_, err := b.f.occurs()
		return nil, err
	case ofAnswer:
		if _, err := b.f.occurs(); err != nil {
			cc.ReportError(err)
		} else {
			_ = cc.UpdateState(resolver.State{}) // gRPC does not take it.
		}
		return b, nil
	}
	return b, cc.UpdateState(endpoints(b.to))
}

func (b brokenResolvers) ResolveNow(resolver.ResolveNowOptions) {
	if b.at == ofAsking {
		_, _ = b.f.occurs()
	}
}

func (b brokenResolvers) Close() {
	if b.at == ofClosing {
		_, _ = b.f.occurs()
	}
}

// policies returns the options of a channel whose load balancing policy is faulty at one call.
func policies(where at) channelOptions {
	return func(f *fault, to string, h *instrument.Handler) (string, []grpc.DialOption) {
		brokenPolicy.Store(&brokenBalancer{at: where, f: f})
		name := "test_broken"
		if h != nil {
			name = "test_broken_wrapped"
		}
		return to, []grpc.DialOption{insecureOption,
			grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"` + name + `":{}}]}`)}
	}
}

// brokenPolicy is that of the test that runs.
var brokenPolicy atomic.Pointer[brokenBalancer]

func init() {
	balancer.Register(brokenBuilder{"test_broken"})
	balancer.Register(instrument.WrapBalancer(brokenBuilder{"test_broken_wrapped"}))
}

type brokenBuilder struct{ name string }

func (b brokenBuilder) Name() string { return b.name }

func (brokenBuilder) Build(cc balancer.ClientConn, opts balancer.BuildOptions) balancer.Balancer {
	p := brokenPolicy.Load()
	if p.at == ofBuild {
		_, _ = p.f.occurs()
		return nil
	}
	return balancer.Get(pickfirst.Name).Build(brokenBalancer{cc, p.at, p.f}, opts)
}

// brokenBalancer stands between pick_first and its channel.
type brokenBalancer struct {
	balancer.ClientConn
	at at
	f  *fault
}

func (b brokenBalancer) NewSubConn(
	addrs []resolver.Address, opts balancer.NewSubConnOptions,
) (balancer.SubConn, error) {
	sc, err := b.ClientConn.NewSubConn(addrs, opts)
	if b.at != ofText {
		return sc, err
	}
	return brokenSubConn{sc, b.f}, err
}

func (b brokenBalancer) UpdateState(s balancer.State) {
	inner := s.Picker
	switch b.at {
	case ofPicker:
		s.Picker = nil
		if _, err := b.f.occurs(); err != nil {
			s.Picker = pickerOf(func(balancer.PickInfo) (balancer.PickResult, error) { return balancer.PickResult{}, err })
		}
	case ofPick:
		s.Picker = pickerOf(func(balancer.PickInfo) (balancer.PickResult, error) {
			_, err := b.f.occurs()
			return balancer.PickResult{}, err
		})
	case ofText:
		s.Picker = pickerOf(func(info balancer.PickInfo) (balancer.PickResult, error) {
			r, err := inner.Pick(info)
			if sc, ok := r.SubConn.(brokenSubConn); ok {
				r.SubConn = sc.SubConn
			}
			return r, err
		})
	}
	b.ClientConn.UpdateState(s)
}

type pickerOf func(balancer.PickInfo) (balancer.PickResult, error)

func (p pickerOf) Pick(info balancer.PickInfo) (balancer.PickResult, error) { return p(info) }

type brokenSubConn struct {
	balancer.SubConn
	f *fault
}

func (s brokenSubConn) String() string {
	_, _ = s.f.occurs()
	return ""
}
