package agent

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/redial-dev/redial/exporters/otlp"
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
	traces, metrics []string // The names of exporters.
	queueSize       int
	exportTimeout   time.Duration
}

// OpenTelemetry's variables that the agent itself reads.
const (
	sdkDisabled     = "OTEL_SDK_DISABLED"
	tracesExporter  = "OTEL_TRACES_EXPORTER"
	metricsExporter = "OTEL_METRICS_EXPORTER"
	prometheusHost  = "OTEL_EXPORTER_PROMETHEUS_HOST"
	prometheusPort  = "OTEL_EXPORTER_PROMETHEUS_PORT"
	queueSize       = "OTEL_BSP_MAX_QUEUE_SIZE"
	exportTimeout   = "OTEL_BSP_EXPORT_TIMEOUT"
	sampler         = "OTEL_TRACES_SAMPLER"
)

// maxSpans bounds what the SDK makes room for at once.
const maxSpans = 1 << 20

// The variables that the agent or the SDK reads, by when that is. The SDK would log what is wrong with one and go on.
var (
	always = []env.Variable{{Name: sdkDisabled, Check: env.Bool}}

	// ofResource are read where any signal has a provider of the agent's own.
	ofResource = []env.Variable{
		{Name: "OTEL_SERVICE_NAME", Check: env.UTF8},
		{Name: "OTEL_RESOURCE_ATTRIBUTES", Check: env.Pairs},
	}

	ofTraces = []env.Variable{{Name: tracesExporter, Check: listOf(exportOTLP, exportConsole, exportNone)}}
	// ofSpans are read where spans go somewhere.
	ofSpans = []env.Variable{
		{Name: sampler, Check: env.OneOf("always_on", "always_off", "traceidratio",
			"parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio")},
		{Name: "OTEL_BSP_SCHEDULE_DELAY", Check: milliseconds},
		{Name: exportTimeout, Check: milliseconds},
		{Name: queueSize, Check: env.Whole(1, maxSpans, "spans")},
		{Name: "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", Check: env.Whole(1, maxSpans, "spans")},
	}
	// ofRatio is read by a sampler of a ratio.
	ofRatio = []env.Variable{{Name: "OTEL_TRACES_SAMPLER_ARG", Check: env.Ratio}}

	ofMetrics = []env.Variable{
		{Name: metricsExporter, Check: listOf(exportOTLP, exportConsole, exportPrometheus, exportNone)},
		{Name: "OTEL_METRICS_EXEMPLAR_FILTER", Check: env.OneOf("always_on", "always_off", "trace_based")},
	}
	// ofExports are read where metrics are sent somewhere.
	ofExports = []env.Variable{
		{Name: "OTEL_METRIC_EXPORT_INTERVAL", Check: milliseconds},
		{Name: "OTEL_METRIC_EXPORT_TIMEOUT", Check: milliseconds},
	}
	// ofPrometheus are read where metrics are served and redial's own setting names no address.
	ofPrometheus = []env.Variable{{Name: prometheusHost, Check: env.UTF8}, {Name: prometheusPort, Check: env.Port}}
)

var milliseconds = env.Whole(1, env.MaxMilliseconds, "milliseconds")

// listOf allows some words, several separated by commas and each once, or none alone.
func listOf(words ...string) env.Check {
	return func(name, value string) error {
		all := fields(value)
		known := func(f string) bool { return slices.Contains(words, f) }
		if len(all) == 0 || slices.ContainsFunc(all, func(f string) bool { return !known(f) }) {
			return env.Bad(name, value, "one of "+strings.Join(words, ", ")+", or several of them separated by commas")
		}
		if slices.Contains(all, exportNone) && len(all) > 1 {
			return env.Bad(name, value, "none alone, or others without it")
		}
		for i, word := range all {
			if slices.Contains(all[:i], word) {
				return env.Bad(name, value, word+" once")
			}
		}
		return nil
	}
}

// readOTel reads OpenTelemetry's variables. What nothing reads, since an option is in its place or the signal goes
// nowhere, is not judged.
func (c *config) readOTel() {
	if !c.valid(always) {
		return
	}
	value, _ := env.Lookup(sdkDisabled)
	if c.signals.disabled = strings.EqualFold(value, "true"); c.signals.disabled {
		return
	}
	if c.tracerProvider == nil {
		c.readTraces()
	}
	if c.meterProvider == nil {
		c.readMetrics()
	}
	if len(c.signals.traces) > 0 || c.meterProvider == nil {
		c.valid(ofResource)
	}
}

// valid reports whether variables that are set may have the values they have, and notes what is wrong.
func (c *config) valid(variables []env.Variable) bool {
	errs := env.Validate(variables)
	c.errs = append(c.errs, errs...)
	return len(errs) == 0
}

func (c *config) readTraces() {
	if !c.valid(ofTraces) {
		return
	}
	c.signals.traces = c.exporters(env.Traces, tracesExporter)
	if len(c.signals.traces) == 0 || !c.valid(ofSpans) {
		return
	}
	if name, _ := env.Lookup(sampler); strings.HasSuffix(name, "traceidratio") {
		c.valid(ofRatio)
	}
	c.signals.queueSize = sdktrace.DefaultMaxQueueSize
	if value, ok := env.Lookup(queueSize); ok {
		if n, err := strconv.Atoi(value); err == nil {
			c.signals.queueSize = n
		}
	}
	c.signals.exportTimeout = env.Milliseconds(exportTimeout, otlp.RetryFor)
}

func (c *config) readMetrics() {
	if !c.valid(ofMetrics) {
		return
	}
	c.signals.metrics = c.exporters(env.Metrics, metricsExporter)
	if slices.Contains(c.signals.metrics, exportOTLP) || slices.Contains(c.signals.metrics, exportConsole) {
		c.valid(ofExports)
	}
	if slices.Contains(c.signals.metrics, exportPrometheus) && c.listen == "" && c.valid(ofPrometheus) {
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
}

// exporters returns where a signal goes: as the option or the variable says, and else to OTLP if the environment
// names a collector for it.
func (c *config) exporters(s env.Signal, variable string) []string {
	value, ok := env.Lookup(variable)
	all := slices.DeleteFunc(fields(value), func(e string) bool { return e == exportNone })
	if c.useOTLP && !slices.Contains(all, exportOTLP) {
		all = append(all, exportOTLP)
	}
	if _, named := s.LookupOTLP(env.OTLPEndpoint); named && !ok && !c.useOTLP {
		all = []string{exportOTLP}
	}
	return all
}
