// Package prometheus serves OpenTelemetry metrics to Prometheus, by OpenTelemetry's official exporter on a
// client_golang registry:
//
//	exporter, err := prometheus.New()
//	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter.Reader()))
//	http.Handle("/metrics", exporter.Handler())
//
// A scraper that asks for OpenMetrics gets exemplars: the trace ids of sampled spans. Names follow the conventions of
// Prometheus: redial.connect.duration becomes redial_connect_duration_seconds.
package prometheus

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/redial-dev/redial/instrument"
)

// Option changes what an [Exporter] does.
type Option func(*config)

type config struct {
	registerer prometheus.Registerer
	gatherer   prometheus.Gatherer
	native     bool
	scope      bool
	collectors []prometheus.Collector
}

// WithRegistry sets the registry to which the metrics are added, and which [Exporter.Handler] serves with all else that
// is in it: a *prometheus.Registry twice, or prometheus.DefaultRegisterer and prometheus.DefaultGatherer. A registry
// takes one exporter at a time; nil is an error of [New]. The default is a registry of the exporter's own.
func WithRegistry(r prometheus.Registerer, g prometheus.Gatherer) Option {
	return func(c *config) { c.registerer, c.gatherer = r, g }
}

// WithScopeInfo adds the labels otel_scope_name, otel_scope_version and otel_scope_schema_url to every series. Use it
// where a provider has metrics of the same name from several libraries. The default is to leave them out, which takes
// two thirds off a scrape: redial_build_info has redial's version.
func WithScopeInfo() Option { return func(c *config) { c.scope = true } }

// WithNativeHistograms makes histograms native (exponential) ones. They have exact quantiles and cost fewer series, and
// are scraped by protobuf only. The default are buckets that were chosen for what is measured.
func WithNativeHistograms() Option { return func(c *config) { c.native = true } }

// WithGoCollector adds the metrics of the Go runtime.
func WithGoCollector() Option {
	return func(c *config) { c.collectors = append(c.collectors, collectors.NewGoCollector()) }
}

// WithProcessCollector adds the metrics of the process: CPU, memory, file descriptors.
func WithProcessCollector() Option {
	return func(c *config) {
		c.collectors = append(c.collectors, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
}

// Exporter holds metrics for Prometheus. Its methods may be called from any goroutine.
type Exporter struct {
	reader     sdkmetric.Reader
	gatherer   prometheus.Gatherer
	registerer prometheus.Registerer
	added      []prometheus.Collector
	unregister sync.Once
}

// New returns an exporter. Its error says what could not be added to the registry: the registry has an exporter
// already, or metrics of the same names.
func New(opts ...Option) (*Exporter, error) {
	// The official exporter's collector describes nothing, and so could be registered twice and never be unregistered.
	// A registry of its own, which is a collector too, is known by redial_build_info.
	own := prometheus.NewRegistry()
	c := config{registerer: own, gatherer: own}
	for _, o := range opts {
		if o != nil {
			o(&c)
		}
	}
	if isNil(c.registerer) || isNil(c.gatherer) {
		return nil, errors.New("WithRegistry: want a registerer and a gatherer, neither of them nil")
	}
	o := []otelprom.Option{
		otelprom.WithRegisterer(own),
		otelprom.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes),
	}
	if !c.scope {
		o = append(o, otelprom.WithoutScopeInfo())
	}
	if c.native {
		o = append(o, otelprom.WithAggregationSelector(native))
	}
	reader, err := otelprom.New(o...)
	if err != nil {
		return nil, fmt.Errorf("make a Prometheus exporter: %w", err)
	}
	if err := own.Register(buildInfo()); err != nil {
		return nil, fmt.Errorf("add redial_build_info: %w", err)
	}
	e := &Exporter{reader: reader, gatherer: c.gatherer, registerer: c.registerer}
	add := c.collectors
	if c.registerer != own {
		add = append([]prometheus.Collector{own}, add...)
	}
	for _, collector := range add {
		if err := c.registerer.Register(collector); err != nil {
			e.Unregister()
			return nil, fmt.Errorf("add to the Prometheus registry, which takes one exporter at a time: %w", err)
		}
		e.added = append(e.added, collector)
	}
	return e, nil
}

// isNil also finds a nil pointer in an interface, such as a nil *prometheus.Registry.
func isNil(v any) bool {
	if v == nil {
		return true
	}
	r := reflect.ValueOf(v)
	return r.Kind() == reflect.Pointer && r.IsNil()
}

func buildInfo() prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "redial_build_info", Help: "The version of redial that makes these metrics.",
		ConstLabels: prometheus.Labels{"version": instrument.Version},
	})
	g.Set(1)
	return g
}

// native makes all histograms exponential, with the default number of buckets.
func native(kind sdkmetric.InstrumentKind) sdkmetric.Aggregation {
	if kind == sdkmetric.InstrumentKindHistogram {
		return sdkmetric.AggregationBase2ExponentialHistogram{MaxSize: 160, MaxScale: 20}
	}
	return sdkmetric.DefaultAggregationSelector(kind)
}

// Reader returns what a MeterProvider writes to.
func (e *Exporter) Reader() sdkmetric.Reader { return e.reader }

// Unregister takes the exporter's metrics out of the registry that [WithRegistry] named, which may take another
// exporter from then on.
func (e *Exporter) Unregister() {
	e.unregister.Do(func() {
		for _, c := range e.added {
			e.registerer.Unregister(c)
		}
	})
}

// The limits of the handler: Prometheus scrapes one at a time and gives up after ten seconds by default.
const (
	maxScrapes = 8
	scrapeTime = 10 * time.Second
)

// Handler serves the metrics of the registry, in the format that the scraper asks for.
func (e *Exporter) Handler() http.Handler {
	return promhttp.HandlerFor(e.gatherer, promhttp.HandlerOpts{
		EnableOpenMetrics:   true,
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: maxScrapes,
		Timeout:             scrapeTime,
	})
}
