package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"sync"
	"time"

	promclient "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkresource "go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/redial-dev/redial/agent"
	"github.com/redial-dev/redial/deploy/demo/echo"
	"github.com/redial-dev/redial/exporters/otlp"
	"github.com/redial-dev/redial/exporters/prometheus"
)

// channel is one of the client's.
type channel struct {
	name, target, policy string
	wait                 bool // Whether its RPCs are wait-for-ready; else they fail where there is no connection.
	tls                  bool
}

// The load balancing policies.
const (
	pickFirst  = "pick_first"
	roundRobin = "round_robin"
)

// channels are those of compose.yaml, whose names these are. The environment sends the last one through the proxy.
var channels = []channel{
	{name: "pick-first", target: "dns:///backend-1:50051", policy: pickFirst},
	{name: "round-robin", target: "dns://injector:5353/backends.stack.test:50051", policy: roundRobin, wait: true},
	{name: "tls", target: "dns:///backend-2:50052", policy: pickFirst, tls: true},
	{name: "proxied", target: "dns:///far.stack.test:50051", policy: pickFirst, wait: true},
}

// The deadline of each RPC, and when an RPC of a caller follows the one before.
const (
	deadline = 5 * time.Second
	interval = 250 * time.Millisecond
)

// shutdownTime is how long the last spans may take to be delivered: less than compose.yaml's stop_grace_period.
const shutdownTime = 3 * time.Second

// callers call over each channel, so many at once, with RPCs that the server takes this long to answer.
var callers = []struct {
	name  string
	n     int
	delay time.Duration
}{{"quick", 1, 0}, {"slow", 4, 300 * time.Millisecond}}

// client calls the backends until the context is done. With -plain nothing is observed, for comparison.
func client(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("client", flag.ContinueOnError)
	plain := flags.Bool("plain", false, "observe nothing, for comparison")
	target := flags.String("target", "", "call this target alone, with round_robin, in place of those of compose.yaml")
	listen := flags.String("listen", "127.0.0.1:9464", "address that serves /metrics with -plain; else REDIAL_LISTEN is")
	if err := flags.Parse(args); err != nil {
		return err
	}
	all := channels
	if *target != "" {
		all = []channel{{name: "target", target: *target, policy: roundRobin, wait: true}}
	}
	rpcs := promclient.NewCounterVec(promclient.CounterOpts{Name: "stack_rpcs_total", Help: "RPCs that ended."},
		[]string{"channel", "code"})
	took := promclient.NewHistogramVec(promclient.HistogramOpts{
		Name: "stack_rpc_duration_seconds", Help: "How long RPCs took.", NativeHistogramBucketFactor: 1.1,
	}, []string{"channel"})
	registry := promclient.NewRegistry()
	registry.MustRegister(rpcs, took)

	o, err := newObservation(ctx, *plain, *listen, registry)
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	for _, c := range all {
		cc, err := o.open(c)
		if err != nil {
			return err
		}
		defer cc.Close()
		for _, kind := range callers {
			for range kind.n {
				running.Go(func() {
					for sleep(ctx, interval) {
						start := time.Now()
						err := call(ctx, cc, &echo.SayRequest{Text: kind.name, DelayMs: kind.delay.Milliseconds()}, c.wait)
						took.WithLabelValues(c.name).Observe(time.Since(start).Seconds())
						rpcs.WithLabelValues(c.name, status.Code(err).String()).Inc()
					}
				})
			}
		}
	}
	logger.Info("client calls", "channels", len(all), "observed", !*plain)
	running.Wait()
	return o.end()
}

func call(ctx context.Context, cc *grpc.ClientConn, req *echo.SayRequest, wait bool) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	_, err := echo.NewEchoClient(cc).Say(ctx, req, grpc.WaitForReady(wait))
	return err
}

// observation is what observes the client: redial and a tracer provider of the client's own for its RPCs, or nothing.
type observation struct {
	agent  *agent.Agent // Nil where nothing is observed.
	traces *sdktrace.TracerProvider
	stop   context.CancelFunc
}

func newObservation(ctx context.Context, plain bool, listen string, registry *promclient.Registry) (*observation, error) {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	o := &observation{stop: stop}
	if plain {
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
		mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
		go func() {
			if err := serveHTTP(ctx, listen, mux); err != nil {
				logger.Error("no metrics are served", "error", err)
			}
		}()
		return o, nil
	}
	exporter, err := otlp.NewSpanExporter(ctx)
	if err != nil {
		return nil, err
	}
	// RPCs and what redial records belong into the same traces, and so to one provider.
	resource, err := sdkresource.New(ctx, sdkresource.WithFromEnv(), sdkresource.WithTelemetrySDK())
	if err != nil {
		return nil, err
	}
	o.traces = sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(resource))
	o.agent, err = agent.Start(ctx, agent.WithTracerProvider(o.traces), agent.WithRegistry(registry),
		agent.WithPrometheus(prometheus.WithNativeHistograms(),
			prometheus.WithGoCollector(), prometheus.WithProcessCollector()))
	return o, err
}

func (o *observation) end() error {
	defer o.stop()
	if o.agent == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	if err := errors.Join(o.agent.Shutdown(ctx), o.traces.Shutdown(ctx)); err != nil {
		return fmt.Errorf("the last spans were not delivered within %v: %w", shutdownTime, err)
	}
	return nil
}

// open makes a channel.
func (o *observation) open(c channel) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if c.tls {
		config, err := trust()
		if err != nil {
			return nil, err
		}
		creds = credentials.NewTLS(config)
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithDefaultServiceConfig(fmt.Sprintf(`{"loadBalancingConfig":[{%q:{}}]}`, c.policy)),
		// A path that is dead is noticed within 20 s, and within 10 s where RPCs use it.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true}),
	}
	if o.agent != nil {
		opts = append(opts, o.agent.DialOption(), grpc.WithUnaryInterceptor(traced(o.traces)))
	}
	cc, err := grpc.NewClient(c.target, opts...)
	if err != nil {
		return nil, fmt.Errorf("make the channel %s: %w", c.name, err)
	}
	return cc, nil
}

// traced makes a span for each RPC, as otelgrpc would.
func traced(p trace.TracerProvider) grpc.UnaryClientInterceptor {
	tracer := p.Tracer("github.com/redial-dev/redial/deploy/stack")
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, next grpc.UnaryInvoker,
		opts ...grpc.CallOption,
	) error {
		ctx, span := tracer.Start(ctx, method[1:], trace.WithSpanKind(trace.SpanKindClient),
			trace.WithAttributes(attribute.String("rpc.system.name", "grpc"), attribute.String("rpc.method", method[1:])))
		defer span.End()
		err := next(ctx, method, req, reply, cc, opts...)
		if err != nil {
			span.SetStatus(codes.Error, status.Convert(err).Message())
			span.SetAttributes(attribute.String("rpc.response.status_code", status.Code(err).String()))
		}
		return err
	}
}
