package agent

import (
	"errors"
	"log/slog"
	"strconv"

	promclient "github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/trace"

	"github.com/redial-dev/redial/exporters/otlp"
	"github.com/redial-dev/redial/exporters/prometheus"
	"github.com/redial-dev/redial/instrument"
)

// Option changes what an [Agent] does. Options win over environment variables. A value that is not allowed is an error
// of [Start]; a nil option does nothing.
type Option func(*config)

// WithListen makes the agent listen on an address, host:port, and serve what [Agent.Handler] serves. Without a host it
// is 127.0.0.1; port 0 stands for any that is free. The default, which "" keeps, is REDIAL_LISTEN, and else not to
// listen.
func WithListen(address string) Option {
	return func(c *config) {
		if address != "" {
			c.apply(redialListen, "WithListen", address)
		}
	}
}

// WithAllowedHosts names the hosts, beside localhost, IP addresses and the one that the agent listens on, by which
// /metrics and /debug/redial/ may be requested; "*" allows any. Others are refused, so that no web page of another host
// reads them through a name that it made point here. The default is REDIAL_ALLOWED_HOSTS, and else none.
func WithAllowedHosts(hosts ...string) Option {
	return func(c *config) { c.hosts, c.replaced[redialAllowedHosts] = hosts, true }
}

// WithJournalSize sets how many bytes the newest events may take in memory; a typical one takes some 360. The default
// is REDIAL_JOURNAL_SIZE, and else 4 MiB; it may be from 64 KiB to 1 GiB.
func WithJournalSize(bytes int) Option {
	return func(c *config) { c.apply(redialJournalSize, "WithJournalSize", strconv.Itoa(bytes)) }
}

// WithSpanRate is [instrument.WithSpanRate], but a negative rate is an error. The default is REDIAL_SPAN_RATE, and else
// [instrument.DefaultSpanRate].
func WithSpanRate(perSecond float64) Option {
	return func(c *config) {
		c.apply(redialSpanRate, "WithSpanRate", strconv.FormatFloat(perSecond, 'g', -1, 64))
	}
}

// WithMaxTargets is [instrument.WithMaxTargets], but a negative number is an error. The default is REDIAL_MAX_TARGETS,
// and else [instrument.DefaultMaxTargets].
func WithMaxTargets(n int) Option {
	return func(c *config) { c.apply(redialMaxTargets, "WithMaxTargets", strconv.Itoa(n)) }
}

// WithTargetFilter is [instrument.WithTargetFilter]. The default, which nil keeps, are the patterns of REDIAL_TARGETS,
// and else every target.
func WithTargetFilter(keep func(target string) bool) Option {
	return func(c *config) {
		if keep != nil {
			c.keepTarget, c.replaced[redialTargets] = keep, true
		}
	}
}

// WithLogger writes events as log records: failures as warnings, connections as information, the rest for debugging.
// The default, which nil keeps, is not to.
func WithLogger(h slog.Handler) Option { return func(c *config) { c.logger = h } }

// WithTracerProvider gives spans to a provider of the user's own, which the agent does not shut down. The OTEL_*
// variables of traces are not read then. nil keeps the default: a provider of the agent's own.
func WithTracerProvider(p trace.TracerProvider) Option {
	return func(c *config) { c.tracerProvider = p }
}

// WithMeterProvider gives metrics to a provider of the user's own, which the agent does not shut down. The OTEL_*
// variables of metrics are not read then, and there is no /metrics. nil keeps the default: a provider of the agent's
// own.
func WithMeterProvider(p metric.MeterProvider) Option {
	return func(c *config) { c.meterProvider = p }
}

// WithResource adds to the resource that the environment describes (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES), and
// wins over it. nil adds nothing.
func WithResource(r *resource.Resource) Option { return func(c *config) { c.resource = r } }

// WithOTLP ships traces and metrics to a collector, as the environment says unless the options do.
func WithOTLP(opts ...otlp.Option) Option {
	return func(c *config) { c.useOTLP, c.otlp = true, append(c.otlp, opts...) }
}

// WithPrometheus changes what is served to Prometheus: by prometheus.WithNativeHistograms, WithGoCollector ...
func WithPrometheus(opts ...prometheus.Option) Option {
	return func(c *config) { c.prometheus = append(c.prometheus, opts...) }
}

// WithRegistry is prometheus.WithRegistry for a registry of the user's own. It takes one agent at a time.
func WithRegistry(r *promclient.Registry) Option {
	return func(c *config) {
		if r == nil {
			c.note(errors.New("WithRegistry(nil): want a registry"))
			return
		}
		c.prometheus = append(c.prometheus, prometheus.WithRegistry(r, r))
	}
}

// WithInstrument passes options on to [instrument.NewHandler], after the agent's own.
func WithInstrument(opts ...instrument.Option) Option {
	return func(c *config) { c.instrument = append(c.instrument, opts...) }
}
