// Package otlp makes OpenTelemetry's official OTLP exporters, for traces and metrics, over gRPC or HTTP.
//
// They do what the OTEL_EXPORTER_OTLP_* environment variables say (endpoint, headers, protocol, timeout, compression,
// certificates), and options in code win over these:
//
//	exporter, err := otlp.NewSpanExporter(ctx)
//	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter))
//
// An export to a collector that is away is tried again for [RetryFor]. The exporters' own connections are ordinary
// ones, which redial does not observe.
package otlp

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/redial-dev/redial/internal/env"
	"github.com/redial-dev/redial/internal/retry"
)

// Protocol is an OTLP transport, as OTEL_EXPORTER_OTLP_PROTOCOL names it.
type Protocol string

const (
	// GRPC is OTLP over gRPC, to port 4317 by default.
	GRPC Protocol = "grpc"
	// HTTPProtobuf is OTLP over HTTP with protobuf, to port 4318 by default. It is the specification's default.
	HTTPProtobuf Protocol = "http/protobuf"
)

// RetryFor is how long one export is tried. The waits between tries grow from one second to ten, each made shorter or
// longer by up to a half at random, or are as the collector asks. It ends sooner when the exporter is shut down or the
// export's context is done.
const RetryFor = retry.For

// Option changes what an exporter does.
type Option func(*config)

type config struct {
	protocol Protocol
	endpoint string
	headers  map[string]string
}

// WithProtocol sets the protocol. The default, which the empty one keeps, is that of the environment, and else
// [HTTPProtobuf]. An unknown one is an error of the constructor.
func WithProtocol(p Protocol) Option { return func(c *config) { c.protocol = p } }

// WithEndpointURL sets where the collector is: "http://host:4317" for [GRPC], "https://host:4318" for [HTTPProtobuf],
// which posts each signal to its own path below it, /v1/traces and /v1/metrics. The scheme http means without TLS. The
// default, which the empty URL keeps, is that of the environment, and else the local host.
func WithEndpointURL(u string) Option { return func(c *config) { c.endpoint = u } }

// WithHeaders sets the headers of each export. The default, which an empty map keeps, are those of the environment.
func WithHeaders(h map[string]string) Option { return func(c *config) { c.headers = h } }

// newConfig applies the options, and checks them and the variables that no option replaces.
func newConfig(s env.Signal, opts []Option) (c config, err error) {
	for _, o := range opts {
		if o != nil {
			o(&c)
		}
	}
	replaced := map[string]bool{
		env.OTLPProtocol: c.protocol != "", env.OTLPEndpoint: c.endpoint != "", env.OTLPHeaders: len(c.headers) > 0,
	}
	if errs := env.Validate(s.OTLPVariables(replaced)); len(errs) > 0 {
		return c, errors.Join(errs...)
	}
	if c.protocol == "" {
		c.protocol = HTTPProtobuf
		if value, ok := s.LookupOTLP(env.OTLPProtocol); ok {
			c.protocol = Protocol(value)
		}
	}
	if c.protocol != GRPC && c.protocol != HTTPProtobuf {
		return c, fmt.Errorf("OTLP protocol %q: want %s or %s", c.protocol, GRPC, HTTPProtobuf)
	}
	if c.endpoint == "" {
		return c, nil
	}
	if err := env.URL("OTLP endpoint", c.endpoint); err != nil {
		return c, err
	}
	if c.protocol == HTTPProtobuf {
		c.endpoint, err = signalURL(c.endpoint, s)
	}
	return c, err
}

// signalURL returns where a signal is posted, below a collector's URL. That may name the path of a signal already.
func signalURL(collector string, s env.Signal) (string, error) {
	u, err := url.Parse(collector)
	if err != nil {
		return "", fmt.Errorf("OTLP endpoint: %w", err)
	}
	path := strings.TrimSuffix(u.Path, "/")
	for _, signal := range []env.Signal{env.Traces, env.Metrics} {
		path = strings.TrimSuffix(path, signal.Path())
	}
	u.Path = path + s.Path()
	return u.String(), nil
}

// options makes the options of an official exporter, by its own functions.
func options[O any](c config, retrying O, endpoint func(string) O, headers func(map[string]string) O) []O {
	all := []O{retrying}
	if c.endpoint != "" {
		all = append(all, endpoint(c.endpoint))
	}
	if len(c.headers) > 0 {
		all = append(all, headers(c.headers))
	}
	return all
}

// NewSpanExporter returns an exporter of spans. It connects when it has something to send. Its error names a setting
// that is not allowed.
func NewSpanExporter(ctx context.Context, opts ...Option) (sdktrace.SpanExporter, error) {
	c, err := newConfig(env.Traces, opts)
	if err != nil {
		return nil, err
	}
	var official sdktrace.SpanExporter
	if c.protocol == GRPC {
		official, err = otlptracegrpc.New(ctx, options(c, otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{}),
			otlptracegrpc.WithEndpointURL, otlptracegrpc.WithHeaders)...)
	} else {
		official, err = otlptracehttp.New(ctx, options(c, otlptracehttp.WithRetry(httpRetry),
			otlptracehttp.WithEndpointURL, otlptracehttp.WithHeaders)...)
	}
	if err != nil {
		return nil, fmt.Errorf("make an OTLP exporter of spans: %w", err)
	}
	return &retryingSpanExporter{official}, nil
}

// NewMetricExporter returns an exporter of metrics, for sdkmetric.NewPeriodicReader. It connects when it has something
// to send. Its error names a setting that is not allowed.
func NewMetricExporter(ctx context.Context, opts ...Option) (sdkmetric.Exporter, error) {
	c, err := newConfig(env.Metrics, opts)
	if err != nil {
		return nil, err
	}
	var official sdkmetric.Exporter
	if c.protocol == GRPC {
		official, err = otlpmetricgrpc.New(ctx, options(c, otlpmetricgrpc.WithRetry(otlpmetricgrpc.RetryConfig{}),
			otlpmetricgrpc.WithEndpointURL, otlpmetricgrpc.WithHeaders)...)
	} else {
		official, err = otlpmetrichttp.New(ctx, options(c,
			otlpmetrichttp.WithRetry(otlpmetrichttp.RetryConfig(httpRetry)),
			otlpmetrichttp.WithEndpointURL, otlpmetrichttp.WithHeaders)...)
	}
	if err != nil {
		return nil, fmt.Errorf("make an OTLP exporter of metrics: %w", err)
	}
	return &retryingMetricExporter{official}, nil
}
