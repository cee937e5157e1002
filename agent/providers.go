package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/stdout/stdoutmetric"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	"go.opentelemetry.io/otel/metric"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	nooptrace "go.opentelemetry.io/otel/trace/noop"

	"github.com/redial-dev/redial/agent/internal/delivery"
	"github.com/redial-dev/redial/exporters/otlp"
	"github.com/redial-dev/redial/exporters/prometheus"
)

// providers are those to which the handler writes.
type providers struct {
	tracer   trace.TracerProvider
	meter    metric.MeterProvider
	ends     []func(context.Context) error // Of those that are the agent's own.
	reporter *delivery.Reporter
}

func newProviders(
	ctx context.Context, c *config, prom *prometheus.Exporter, reporter *delivery.Reporter,
) (*providers, error) {
	p := &providers{tracer: c.tracerProvider, meter: c.meterProvider, reporter: reporter}
	if c.signals.disabled {
		p.tracer, p.meter = nooptrace.NewTracerProvider(), noopmetric.NewMeterProvider()
		return p, nil
	}
	if p.tracer == nil && len(c.signals.traces) == 0 { // Nobody would see the spans.
		p.tracer = nooptrace.NewTracerProvider()
	}
	if p.tracer != nil && p.meter != nil {
		return p, nil
	}
	described, err := c.describe(ctx)
	if err != nil {
		return nil, err
	}
	var errs []error
	if p.tracer == nil {
		errs = append(errs, p.makeTracer(ctx, c, described))
	}
	if p.meter == nil {
		errs = append(errs, p.makeMeter(ctx, c, described, prom))
	}
	if err := errors.Join(errs...); err != nil {
		p.reporter.GiveUp()
		return nil, errors.Join(err, p.shutdown(ctx))
	}
	return p, nil
}

// describe returns the resource: what the process is by default, what the environment says of it, and what code does.
func (c *config) describe(ctx context.Context) (*resource.Resource, error) {
	// Without an id of its own, two processes of a service would write the same series.
	instance := resource.WithAttributes(semconv.ServiceInstanceID(uuid.NewString()))
	r, err := resource.New(ctx, instance, resource.WithService(), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("describe the resource (OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME): %w", err)
	}
	if c.resource != nil {
		if r, err = resource.Merge(r, c.resource); err != nil {
			return nil, fmt.Errorf("merge the resource of WithResource: %w", err)
		}
	}
	return inUTF8(r), nil
}

// inUTF8 makes the texts of a resource valid UTF-8, since a collector refuses all signals of one that is not. The name
// of the process and what WithResource adds may be any.
func inUTF8(r *resource.Resource) *resource.Resource {
	kvs := r.Attributes()
	for i, kv := range kvs {
		if kv.Value.Type() == attribute.STRING {
			kvs[i].Value = attribute.StringValue(strings.ToValidUTF8(kv.Value.AsString(), "\uFFFD"))
		}
		kvs[i].Key = attribute.Key(strings.ToValidUTF8(string(kv.Key), "\uFFFD"))
	}
	return resource.NewWithAttributes(r.SchemaURL(), kvs...)
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
		}
		if err != nil {
			return fmt.Errorf("export traces: %w", err)
		}
		opts = append(opts, sdktrace.WithSpanProcessor(
			delivery.Spans(exporter, c.signals.queueSize, c.signals.exportTimeout, p.reporter)))
	}
	own := sdktrace.NewTracerProvider(opts...)
	p.tracer, p.ends = own, append(p.ends, own.Shutdown)
	return nil
}

// firstExport is when metrics are exported first, whatever the interval: a collector that does not take them is
// reported soon.
const firstExport = 5 * time.Second

func (p *providers) makeMeter(ctx context.Context, c *config, r *resource.Resource, prom *prometheus.Exporter) error {
	opts := []sdkmetric.Option{sdkmetric.WithResource(r), sdkmetric.WithReader(prom.Reader())}
	exported := false
	for _, name := range c.signals.metrics {
		var exporter sdkmetric.Exporter
		var err error
		switch name {
		case exportOTLP:
			exporter, err = otlp.NewMetricExporter(ctx, c.otlp...)
		case exportConsole:
			exporter, err = stdoutmetric.New()
		case exportPrometheus:
			continue
		}
		if err != nil {
			return fmt.Errorf("export metrics: %w", err)
		}
		exported = true
		opts = append(opts, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(delivery.Metrics(exporter, p.reporter))))
	}
	own := sdkmetric.NewMeterProvider(opts...)
	p.meter = own
	if !exported {
		p.ends = append(p.ends, own.Shutdown)
		return nil
	}
	first := time.AfterFunc(firstExport, func() { p.reporter.Flush(own.ForceFlush) })
	p.ends = append(p.ends, func(ctx context.Context) error {
		first.Stop()
		return own.Shutdown(ctx)
	})
	return nil
}

// shutdown sends what is left, and gives it up when the context is done.
func (p *providers) shutdown(ctx context.Context) error {
	defer p.reporter.GiveUp()
	errs := make([]error, len(p.ends))
	for i, end := range p.ends {
		errs[i] = p.end(ctx, end)
	}
	return errors.Join(errs...)
}

// end shuts a provider down. With a context that is done already the SDK would leave its goroutines running.
func (p *providers) end(ctx context.Context, shutdown func(context.Context) error) error {
	if ctx.Err() == nil {
		return shutdown(ctx)
	}
	p.reporter.GiveUp()
	short, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveUpTime/2)
	defer cancel()
	return errors.Join(ctx.Err(), shutdown(short))
}
