// Package otlp makes OpenTelemetry's official OTLP exporters, for traces and metrics, over gRPC or HTTP.
//
// They do what the OTEL_EXPORTER_OTLP_* environment variables say (endpoint, headers, protocol, timeout, compression,
// certificates), and options in code win over these:
//
//	exporter, err := otlp.NewSpanExporter(ctx)
//	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter))
//
// A collector that is away is tried again for [RetryFor]. The exporters' own connections are ordinary ones, which
// redial does not observe.
package otlp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/redial-dev/redial/internal/env"
)

// Protocol is an OTLP transport, as OTEL_EXPORTER_OTLP_PROTOCOL names it.
type Protocol string

// The protocols. HTTPProtobuf is the specification's default.
const (
	GRPC         Protocol = "grpc"
	HTTPProtobuf Protocol = "http/protobuf"
)

// One export is tried again after [retryFirst], then ever later up to [retryMost], for RetryFor altogether. An exporter
// that is shut down, or whose export's context ends, stops sooner.
const (
	RetryFor   = 5 * time.Minute
	retryFirst = time.Second
	retryMost  = 10 * time.Second
)

// Option changes what an exporter does.
type Option func(*config)

type config struct {
	protocol Protocol
	endpoint string
	headers  map[string]string
}

// WithProtocol sets the protocol. The default, which the empty one keeps, is that of the environment, and else
// [HTTPProtobuf].
func WithProtocol(p Protocol) Option { return func(c *config) { c.protocol = p } }

// WithEndpointURL sets where the collector is: "http://host:4317" for [GRPC], "https://host:4318/v1/traces" for
// [HTTPProtobuf], with the path of the signal. http means without TLS. The default, which the empty one keeps, is that of
// the environment, and else the local host.
func WithEndpointURL(u string) Option { return func(c *config) { c.endpoint = u } }

// WithHeaders sets the headers of each export. The default, which none keep, are those of the environment.
func WithHeaders(h map[string]string) Option { return func(c *config) { c.headers = h } }

// signal is traces or metrics, as variables name it.
type signal string

const (
	traces  signal = "TRACES"
	metrics signal = "METRICS"
)

const prefix = "OTEL_EXPORTER_OTLP_"

// variables are those that the official exporters and this package read: for all signals, and for one.
func (s signal) variables() (all []env.Variable) {
	for _, p := range []string{prefix, prefix + string(s) + "_"} {
		all = append(all,
			env.Variable{Name: p + "PROTOCOL", Check: env.OneOf(string(GRPC), string(HTTPProtobuf))},
			env.Variable{Name: p + "ENDPOINT", Check: env.URL},
			env.Variable{Name: p + "HEADERS", Check: env.Pairs},
			env.Variable{Name: p + "TIMEOUT", Check: env.Whole(0, "milliseconds")},
			env.Variable{Name: p + "COMPRESSION", Check: env.OneOf("gzip", "none")},
			env.Variable{Name: p + "INSECURE", Check: env.Bool},
			env.Variable{Name: p + "CERTIFICATE", Check: env.File},
			env.Variable{Name: p + "CLIENT_CERTIFICATE", Check: env.File},
			env.Variable{Name: p + "CLIENT_KEY", Check: env.File},
		)
	}
	if s == metrics {
		all = append(all,
			env.Variable{Name: prefix + "METRICS_TEMPORALITY_PREFERENCE", Check: env.AnyCase(env.OneOf("cumulative", "delta", "lowmemory"))},
			env.Variable{Name: prefix + "METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
				Check: env.AnyCase(env.OneOf("explicit_bucket_histogram", "base2_exponential_bucket_histogram"))})
	}
	return all
}

// ValidateEnv returns what is wrong with the OTEL_EXPORTER_OTLP_* variables, all of it: each error names the variable, its
// value unless that may be a secret, and what is allowed. The official exporters would log it and go on.
func ValidateEnv() error {
	seen := map[string]bool{} // What holds for all signals is told once.
	all := slices.DeleteFunc(append(traces.variables(), metrics.variables()...), func(v env.Variable) bool {
		defer func() { seen[v.Name] = true }()
		return seen[v.Name]
	})
	return errors.Join(env.Validate(all)...)
}

// Configured reports whether the environment names a collector.
func Configured() bool {
	for _, name := range []string{"ENDPOINT", "TRACES_ENDPOINT", "METRICS_ENDPOINT"} {
		if _, ok := env.Lookup(prefix + name); ok {
			return true
		}
	}
	return false
}

func newConfig(s signal, opts []Option) (c config, err error) {
	for _, o := range opts {
		if o != nil {
			o(&c)
		}
	}
	if errs := env.Validate(s.variables()); len(errs) > 0 {
		return c, errors.Join(errs...)
	}
	for _, name := range []string{prefix + string(s) + "_PROTOCOL", prefix + "PROTOCOL"} {
		if value, ok := env.Lookup(name); ok && c.protocol == "" {
			c.protocol = Protocol(value)
		}
	}
	switch c.protocol {
	case "":
		c.protocol = HTTPProtobuf
	case GRPC, HTTPProtobuf:
	default:
		return c, fmt.Errorf("OTLP protocol %q: want %s or %s", c.protocol, GRPC, HTTPProtobuf)
	}
	if c.endpoint != "" {
		if err := env.URL("OTLP endpoint", c.endpoint); err != nil {
			return c, err
		}
	}
	return c, nil
}

// NewSpanExporter returns an exporter of spans. It connects when it has something to send. Its error names a setting
// that is not allowed.
func NewSpanExporter(ctx context.Context, opts ...Option) (sdktrace.SpanExporter, error) {
	c, err := newConfig(traces, opts)
	if err != nil {
		return nil, err
	}
	if c.protocol == GRPC {
		o := []otlptracegrpc.Option{otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{
			Enabled: true, InitialInterval: retryFirst, MaxInterval: retryMost, MaxElapsedTime: RetryFor,
		})}
		if c.endpoint != "" {
			o = append(o, otlptracegrpc.WithEndpointURL(c.endpoint))
		}
		if len(c.headers) > 0 {
			o = append(o, otlptracegrpc.WithHeaders(c.headers))
		}
		return wrap(otlptracegrpc.New(ctx, o...))
	}
	o := []otlptracehttp.Option{otlptracehttp.WithRetry(otlptracehttp.RetryConfig{
		Enabled: true, InitialInterval: retryFirst, MaxInterval: retryMost, MaxElapsedTime: RetryFor,
	})}
	if c.endpoint != "" {
		o = append(o, otlptracehttp.WithEndpointURL(c.endpoint))
	}
	if len(c.headers) > 0 {
		o = append(o, otlptracehttp.WithHeaders(c.headers))
	}
	exporter, err := otlptracehttp.New(ctx, o...)
	if err != nil {
		return wrap[sdktrace.SpanExporter](nil, err)
	}
	return &patient{exporter}, nil
}

// NewMetricExporter returns an exporter of metrics, for sdkmetric.NewPeriodicReader. It connects when it has something
// to send. Its error names a setting that is not allowed.
func NewMetricExporter(ctx context.Context, opts ...Option) (sdkmetric.Exporter, error) {
	c, err := newConfig(metrics, opts)
	if err != nil {
		return nil, err
	}
	if c.protocol == GRPC {
		o := []otlpmetricgrpc.Option{otlpmetricgrpc.WithRetry(otlpmetricgrpc.RetryConfig{
			Enabled: true, InitialInterval: retryFirst, MaxInterval: retryMost, MaxElapsedTime: RetryFor,
		})}
		if c.endpoint != "" {
			o = append(o, otlpmetricgrpc.WithEndpointURL(c.endpoint))
		}
		if len(c.headers) > 0 {
			o = append(o, otlpmetricgrpc.WithHeaders(c.headers))
		}
		return wrap(otlpmetricgrpc.New(ctx, o...))
	}
	o := []otlpmetrichttp.Option{otlpmetrichttp.WithRetry(otlpmetrichttp.RetryConfig{
		Enabled: true, InitialInterval: retryFirst, MaxInterval: retryMost, MaxElapsedTime: RetryFor,
	})}
	if c.endpoint != "" {
		o = append(o, otlpmetrichttp.WithEndpointURL(c.endpoint))
	}
	if len(c.headers) > 0 {
		o = append(o, otlpmetrichttp.WithHeaders(c.headers))
	}
	return wrap(otlpmetrichttp.New(ctx, o...))
}

// wrap keeps a nil exporter from becoming an interface that is not nil.
func wrap[E any](e E, err error) (E, error) {
	if err != nil {
		var none E
		return none, fmt.Errorf("make an OTLP exporter: %w", err)
	}
	return e, nil
}
