package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/stdout/stdoutmetric"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	"go.opentelemetry.io/otel/metric"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	nooptrace "go.opentelemetry.io/otel/trace/noop"

	"github.com/redial-dev/redial/agent/internal/delivery"
	"github.com/redial-dev/redial/exporters/otlp"
	"github.com/redial-dev/redial/exporters/prometheus"
	"github.com/redial-dev/redial/internal/env"
)

// The exporters that OTEL_TRACES_EXPORTER and OTEL_METRICS_EXPORTER name.
const (
	exportOTLP       = "otlp"
	exportConsole    = "console"
	exportPrometheus = "prometheus"
	exportNone       = "none"
)

// signals says where the signals go.
type signals struct {
	disabled        bool
	traces, metrics []string
	queueSize       int
	exportTimeout   time.Duration
}

const (
	sdkDisabled     = "OTEL_SDK_DISABLED"
	tracesExporter  = "OTEL_TRACES_EXPORTER"
	metricsExporter = "OTEL_METRICS_EXPORTER"
	prometheusHost  = "OTEL_EXPORTER_PROMETHEUS_HOST"
	prometheusPort  = "OTEL_EXPORTER_PROMETHEUS_PORT"
	queueSize       = "OTEL_BSP_MAX_QUEUE_SIZE"
	exportTimeout   = "OTEL_BSP_EXPORT_TIMEOUT"
)

// sdkVariables are those that the agent or the SDK reads; the SDK would log what is wrong and go on.
var sdkVariables = []env.Variable{
	{Name: sdkDisabled, Check: env.Bool},
	{Name: tracesExporter, Check: listOf(exportOTLP, exportConsole, exportNone)},
	{Name: metricsExporter, Check: listOf(exportOTLP, exportConsole, exportPrometheus, exportNone)},
	{Name: "OTEL_RESOURCE_ATTRIBUTES", Check: env.Pairs},
	{Name: "OTEL_TRACES_SAMPLER", Check: env.OneOf("always_on", "always_off", "traceidratio",
		"parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio")},
	{Name: "OTEL_TRACES_SAMPLER_ARG", Check: env.Ratio},
	{Name: "OTEL_BSP_SCHEDULE_DELAY", Check: env.Whole(1, "milliseconds")},
	{Name: exportTimeout, Check: env.Whole(1, "milliseconds")},
	{Name: queueSize, Check: env.Whole(1, "spans")},
	{Name: "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", Check: env.Whole(1, "spans")},
	{Name: "OTEL_METRIC_EXPORT_INTERVAL", Check: env.Whole(1, "milliseconds")},
	{Name: "OTEL_METRIC_EXPORT_TIMEOUT", Check: env.Whole(1, "milliseconds")},
	{Name: "OTEL_METRICS_EXEMPLAR_FILTER", Check: env.OneOf("always_on", "always_off", "trace_based")},
	{Name: prometheusPort, Check: env.Port},
}

func listOf(words ...string) env.Check {
	return func(name, value string) error {
		for _, f := range fields(value) {
			if err := env.OneOf(words...)(name, f); err != nil {
				return env.Bad(name, value, "one of "+strings.Join(words, ", ")+", or several of them separated by commas")
			}
		}
		if all := fields(value); slices.Contains(all, exportNone) && len(all) > 1 {
			return env.Bad(name, value, "none alone, or others without it")
		}
		return nil
	}
}

// readSDK reads OpenTelemetry's variables.
func (c *config) readSDK() {
	errs := env.Validate(sdkVariables)
	c.errs = append(c.errs, errs...)
	c.note(otlp.ValidateEnv())
	if len(errs) > 0 {
		return
	}
	if value, ok := env.Lookup(sdkDisabled); ok {
		c.signals.disabled = strings.EqualFold(value, "true")
	}
	c.signals.traces, c.signals.metrics = c.exporters(tracesExporter), c.exporters(metricsExporter)
	if slices.Contains(c.signals.metrics, exportPrometheus) && c.listen == "" {
		host, ok := env.Lookup(prometheusHost)
		if !ok {
			host = "127.0.0.1"
		}
		port, ok := env.Lookup(prometheusPort)
		if !ok {
			port = "9464"
		}
		c.listen = net.JoinHostPort(host, port)
	}
	c.signals.queueSize = sdktrace.DefaultMaxQueueSize
	if value, ok := env.Lookup(queueSize); ok {
		if n, err := strconv.Atoi(value); err == nil {
			c.signals.queueSize = n
		}
	}
	c.signals.exportTimeout = env.Milliseconds(exportTimeout, otlp.RetryFor)
}

// exporters returns where a signal goes: as the option or the variable says, and else to OTLP if a collector is named.
func (c *config) exporters(variable string) []string {
	value, ok := env.Lookup(variable)
	all := fields(value)
	if c.useOTLP && !slices.Contains(all, exportOTLP) {
		all = append(slices.DeleteFunc(all, func(e string) bool { return e == exportNone }), exportOTLP)
	}
	if !ok && !c.useOTLP && otlp.Configured() {
		all = []string{exportOTLP}
	}
	return all
}

// providers are those that the handler writes to.
type providers struct {
	tracer   trace.TracerProvider
	meter    metric.MeterProvider
	ends     []func(context.Context) error // Of those that are the agent's own.
	reporter *delivery.Reporter
}

func newProviders(ctx context.Context, c *config, prom *prometheus.Exporter, lost func(int64)) (*providers, error) {
	p := &providers{tracer: c.tracerProvider, meter: c.meterProvider, reporter: delivery.NewReporter(lost, otel.Handle)}
	if c.signals.disabled {
		p.tracer, p.meter = nooptrace.NewTracerProvider(), noopmetric.NewMeterProvider()
		return p, nil
	}
	if p.tracer != nil && p.meter != nil {
		return p, nil
	}
	described, err := c.describe(ctx)
	if err != nil {
		return nil, err
	}
	if p.tracer == nil {
		err = p.makeTracer(ctx, c, described)
	}
	if p.meter == nil && err == nil {
		err = p.makeMeter(ctx, c, described, prom)
	}
	if err != nil {
		p.reporter.GiveUp()
		return nil, errors.Join(err, p.shutdown(ctx))
	}
	return p, nil
}

// describe returns the resource: what the process is by default, what the environment says of it, and what code does.
func (c *config) describe(ctx context.Context) (*resource.Resource, error) {
	r, err := resource.New(ctx, resource.WithService(), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("describe the resource (OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME): %w", err)
	}
	if c.resource == nil {
		return r, nil
	}
	if r, err = resource.Merge(r, c.resource); err != nil {
		return nil, fmt.Errorf("merge the resource of WithResource: %w", err)
	}
	return r, nil
}

func (p *providers) makeTracer(ctx context.Context, c *config, r *resource.Resource) error {
	opts := []sdktrace.TracerProviderOption{sdktrace.WithResource(r)}
	for _, name := range c.signals.traces {
		var exporter sdktrace.SpanExporter
		var err error
		switch name {
		case exportOTLP:
			exporter, err = otlp.NewSpanExporter(ctx, c.otlp...)
		case exportConsole:
			exporter, err = stdouttrace.New()
		default:
			continue
		}
		if err != nil {
			return fmt.Errorf("export traces: %w", err)
		}
		opts = append(opts, sdktrace.WithSpanProcessor(
			delivery.Spans(exporter, c.signals.queueSize, c.signals.exportTimeout, p.reporter)))
	}
	if len(opts) == 1 { // Nobody would see the spans.
		p.tracer = nooptrace.NewTracerProvider()
		return nil
	}
	own := sdktrace.NewTracerProvider(opts...)
	p.tracer, p.ends = own, append(p.ends, own.Shutdown)
	return nil
}

func (p *providers) makeMeter(ctx context.Context, c *config, r *resource.Resource, prom *prometheus.Exporter) error {
	opts := []sdkmetric.Option{sdkmetric.WithResource(r), sdkmetric.WithReader(prom.Reader())}
	for _, name := range c.signals.metrics {
		var exporter sdkmetric.Exporter
		var err error
		switch name {
		case exportOTLP:
			exporter, err = otlp.NewMetricExporter(ctx, c.otlp...)
		case exportConsole:
			exporter, err = stdoutmetric.New()
		default:
			continue
		}
		if err != nil {
			return fmt.Errorf("export metrics: %w", err)
		}
		opts = append(opts, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(delivery.Metrics(exporter, p.reporter))))
	}
	own := sdkmetric.NewMeterProvider(opts...)
	p.meter, p.ends = own, append(p.ends, own.Shutdown)
	return nil
}

// shutdown sends what is left, and gives it up when the context is done.
func (p *providers) shutdown(ctx context.Context) error {
	defer p.reporter.GiveUp()
	errs := make([]error, len(p.ends))
	for i, end := range p.ends {
		errs[i] = end(ctx)
	}
	return errors.Join(errs...)
}
