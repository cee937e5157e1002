package instrument

import (
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/backoff"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/ask"
)

// Option changes what a [Handler] does.
type Option func(*config)

type config struct {
	tracerProvider trace.TracerProvider
	meterProvider  metric.MeterProvider
	keepTarget     func(string) bool   // Nil keeps all.
	renameTarget   func(string) string // Nil stands for redial's own.
	sinks          []event.Sink
	backoff        backoff.Config
	backoffKnown   bool // By WithBackoff.
	withoutGRPC    bool
	spanRate       float64
	maxTargets     int
	tcpEvery       time.Duration
	asker          *ask.Asker // Of functions of the user's and addresses, for which hooks wait.
	setUpTime      time.Duration
}

const (
	// DefaultSpanRate is the limit on spans without [WithSpanRate]: as many as a person reads.
	DefaultSpanRate = 20
	// DefaultMaxTargets is the limit on targets without [WithMaxTargets]: more than most processes dial, and few enough
	// that the OpenTelemetry SDK's own limit, 2000 series of an instrument, is not reached by what commonly happens.
	DefaultMaxTargets = 200
)

func newConfig(opts []Option) config {
	c := config{
		tracerProvider: otel.GetTracerProvider(),
		meterProvider:  otel.GetMeterProvider(),
		backoff:        backoff.DefaultConfig,
		spanRate:       DefaultSpanRate,
		maxTargets:     DefaultMaxTargets,
		asker:          ask.New(ask.Limit),
		setUpTime:      setUpTime,
	}
	for _, o := range opts {
		if o != nil {
			o(&c)
		}
	}
	return c
}

// WithTracerProvider sets the provider of the tracer that makes the spans. The default, which nil keeps, is
// otel.GetTracerProvider().
func WithTracerProvider(p trace.TracerProvider) Option {
	return func(c *config) {
		if p != nil {
			c.tracerProvider = p
		}
	}
}

// WithMeterProvider sets the provider of the meter that makes the metrics. The default, which nil keeps, is
// otel.GetMeterProvider().
func WithMeterProvider(p metric.MeterProvider) Option {
	return func(c *config) {
		if p != nil {
			c.meterProvider = p
		}
	}
}

// WithTargetFilter sets which targets are shown by name: where keep returns false, the attribute grpc.target is
// "other". Use it where a process dials targets of unbounded number, so that those which matter have their names
// before the limit of [WithMaxTargets] is reached. The default, which nil stands for, keeps all. The argument is
// the name that the target would have: the canonical target of gRFC A66 ("dns:///host:port"), without users, passwords,
// queries and fragments, as [WithTargetRename] leaves it. keep must not block, and may be called from any goroutine.
func WithTargetFilter(keep func(target string) bool) Option {
	return func(c *config) {
		c.keepTarget = keep
	}
}

// WithTargetRename sets how targets are named in signals. Use it for a resolver whose targets differ at each start of a
// program, which would make new time series each time. rename takes the canonical target of gRFC A66, and what it
// returns comes before [WithTargetFilter]; users, passwords, queries and fragments are left out of it. rename must not
// block, and may be called from any goroutine. The default, which nil stands for, knows the targets of etcd's client
// (etcd-endpoints://0xc000123456/host:2379), and leaves the address in memory out.
func WithTargetRename(rename func(target string) string) Option {
	return func(c *config) {
		c.renameTarget = rename
	}
}

// WithMaxTargets limits how many targets are shown by name, of those that [WithTargetFilter] keeps. Every target is a
// set of time series, which stay as long as the handler lives, and so does the name; the targets that come when all
// names are given are "other", and their channels are counted by redial.targets.overflowed. Zero stands for no limit, a
// negative number for the default, [DefaultMaxTargets].
func WithMaxTargets(n int) Option {
	return func(c *config) {
		if n < 0 {
			n = DefaultMaxTargets
		}
		c.maxTargets = n
	}
}

// WithSink adds a listener to the events that spans and metrics are made of. It may be given several times.
func WithSink(s event.Sink) Option {
	return func(c *config) {
		if s != nil {
			c.sinks = append(c.sinks, s)
		}
	}
}

// WithBackoff sets the backoff that the channels were given by grpc.WithConnectParams, which redial cannot read from
// them. A backoff wait that ends sooner than this one can is reported as reset, by ClientConn.ResetConnectBackoff.
// Without this option no wait is, since a channel may have any backoff; the next attempt that Handler.Channels shows is
// that of grpc-go's default, backoff.DefaultConfig.
func WithBackoff(b backoff.Config) Option {
	return func(c *config) { c.backoff, c.backoffKnown = b, true }
}

// WithTCPMetrics records what the kernel knows of each transport's socket as the metrics of gRFC A80
// (grpc.tcp.min_rtt, delivery_rate, packets_sent, packets_retransmitted, packets_spurious_retransmitted), at that
// interval and when a transport is lost. It reads TCP_INFO, a system call for each transport; no RPC waits for it.
// Linux only. The default, which zero and less keep, is not to.
func WithTCPMetrics(every time.Duration) Option {
	return func(c *config) { c.tcpEvery = max(every, 0) }
}

// WithSpanRate limits how many traces redial begins a second for each target (a grpc.connect, grpc.transport or
// grpc.resolve each begins one), with credit for ten seconds' worth after a quiet time. What is left out is counted by
// redial.spans.suppressed; metrics and sinks have everything all the same. Zero stands for no limit, a negative
// rate for the default, [DefaultSpanRate].
func WithSpanRate(perSecond float64) Option {
	return func(c *config) {
		if !(perSecond >= 0) { // Or not a number.
			perSecond = DefaultSpanRate
		}
		c.spanRate = perSecond
	}
}

// WithoutGRPCMetrics leaves out gRPC's own instruments of gRFC A94 (grpc.subchannel.*), for channels that report them
// through gRPC's own OpenTelemetry plugin.
func WithoutGRPCMetrics() Option {
	return func(c *config) { c.withoutGRPC = true }
}

// reportDelay is the part of a backoff that may have passed when gRPC reports the failure before it.
const reportDelay = 0.1

// shortestBackoff returns the shortest wait of gRPC's exponential backoff (google.golang.org/grpc/backoff) after so
// many failures in a row.
func (c *config) shortestBackoff(failures int) time.Duration {
	wait, limit := float64(c.backoff.BaseDelay), float64(c.backoff.MaxDelay)
	for ; failures > 0 && wait < limit; failures-- {
		wait *= c.backoff.Multiplier
	}
	return time.Duration(min(wait, limit) * (1 - c.backoff.Jitter) * (1 - reportDelay))
}
