package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"path"
	"strconv"
	"strings"

	promclient "github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/trace"

	"github.com/redial-dev/redial/agent/internal/journal"
	"github.com/redial-dev/redial/exporters/otlp"
	"github.com/redial-dev/redial/exporters/prometheus"
	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/internal/env"
)

// Option changes what an [Agent] does. Options win over environment variables.
type Option func(*config)

type config struct {
	listen         string
	journalSize    int
	spanRate       float64
	maxTargets     int
	keepTarget     func(string) bool
	hosts          []string
	logger         slog.Handler
	tracerProvider trace.TracerProvider
	meterProvider  metric.MeterProvider
	resource       *resource.Resource
	prometheus     []prometheus.Option
	otlp           []otlp.Option
	useOTLP        bool
	instrument     []instrument.Option

	signals signals
	errs    []error
}

// setting is one of redial's own environment variables. docs/agent.md lists them.
type setting struct {
	name string
	set  func(c *config, name, value string) error
}

var settings = []setting{
	{"REDIAL_LISTEN", func(c *config, name, value string) (err error) {
		c.listen, err = listenAddress(name, value)
		return err
	}},
	{"REDIAL_ALLOWED_HOSTS", func(c *config, _, value string) error {
		c.hosts = fields(value)
		return nil
	}},
	{"REDIAL_JOURNAL_SIZE", func(c *config, name, value string) (err error) {
		c.journalSize, err = journalSize(name, value)
		return err
	}},
	{"REDIAL_SPAN_RATE", func(c *config, name, value string) (err error) {
		c.spanRate, err = spanRate(name, value)
		return err
	}},
	{"REDIAL_MAX_TARGETS", func(c *config, name, value string) (err error) {
		c.maxTargets, err = maxTargets(name, value)
		return err
	}},
	{"REDIAL_TARGETS", func(c *config, name, value string) (err error) {
		c.keepTarget, err = targets(name, fields(value))
		return err
	}},
}

// newConfig reads the environment and then the options, and returns all errors of both.
func newConfig(opts []Option) (*config, error) {
	c := &config{journalSize: journal.DefaultSize, spanRate: instrument.DefaultSpanRate,
		maxTargets: instrument.DefaultMaxTargets}
	for _, s := range settings {
		if value, ok := env.Lookup(s.name); ok {
			if err := s.set(c, s.name, value); err != nil {
				c.errs = append(c.errs, err)
			}
		}
	}
	for _, o := range opts {
		if o != nil {
			o(c)
		}
	}
	c.readSDK()
	return c, errors.Join(c.errs...)
}

func (c *config) note(err error) {
	if err != nil {
		c.errs = append(c.errs, err)
	}
}

// WithListen makes the agent listen on an address, host:port, and serve what [Agent.Handler] serves. Without a host it is
// 127.0.0.1; port 0 stands for any that is free. The default, which "" keeps, is REDIAL_LISTEN, and else not to listen.
func WithListen(address string) Option {
	return func(c *config) {
		if address != "" {
			var err error
			c.listen, err = listenAddress("WithListen", address)
			c.note(err)
		}
	}
}

// WithAllowedHosts names the hosts, beside localhost, IP addresses and the one that the agent listens on, by which
// /debug/redial/ may be asked for; "*" allows any. Others are refused, lest a web page of another host reads it through
// a name that it made point here. The default is REDIAL_ALLOWED_HOSTS, and else none.
func WithAllowedHosts(hosts ...string) Option { return func(c *config) { c.hosts = hosts } }

// WithJournalSize sets how many bytes the newest events may take in memory; a typical one takes some 360. The default is
// REDIAL_JOURNAL_SIZE, and else 4 MiB; the least is 64 KiB, and the most 1 GiB.
func WithJournalSize(bytes int) Option {
	return func(c *config) {
		var err error
		c.journalSize, err = journalSize("WithJournalSize", strconv.Itoa(bytes))
		c.note(err)
	}
}

// WithSpanRate is [instrument.WithSpanRate]. The default is REDIAL_SPAN_RATE, and else [instrument.DefaultSpanRate].
func WithSpanRate(perSecond float64) Option {
	return func(c *config) {
		var err error
		c.spanRate, err = spanRate("WithSpanRate", strconv.FormatFloat(perSecond, 'g', -1, 64))
		c.note(err)
	}
}

// WithMaxTargets is [instrument.WithMaxTargets]. The default is REDIAL_MAX_TARGETS, and else
// [instrument.DefaultMaxTargets].
func WithMaxTargets(n int) Option {
	return func(c *config) {
		var err error
		c.maxTargets, err = maxTargets("WithMaxTargets", strconv.Itoa(n))
		c.note(err)
	}
}

// WithTargetFilter is [instrument.WithTargetFilter]. The default, which nil keeps, are the patterns of REDIAL_TARGETS, and
// else every target.
func WithTargetFilter(keep func(target string) bool) Option {
	return func(c *config) {
		if keep != nil {
			c.keepTarget = keep
		}
	}
}

// WithLogger writes events as log records: failures as warnings, connections as information, the rest for debugging. The
// default is not to.
func WithLogger(h slog.Handler) Option { return func(c *config) { c.logger = h } }

// WithTracerProvider gives spans to a provider of the user's own, which the agent does not shut down. The OTEL_*
// variables of traces mean nothing then. nil keeps the default: a provider of the agent's own.
func WithTracerProvider(p trace.TracerProvider) Option {
	return func(c *config) { c.tracerProvider = p }
}

// WithMeterProvider gives metrics to a provider of the user's own, which the agent does not shut down. The OTEL_*
// variables of metrics mean nothing then, and there is no /metrics. nil keeps the default: a provider of the agent's own.
func WithMeterProvider(p metric.MeterProvider) Option {
	return func(c *config) { c.meterProvider = p }
}

// WithResource adds to the resource that the environment describes (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES), and wins
// over it.
func WithResource(r *resource.Resource) Option { return func(c *config) { c.resource = r } }

// WithOTLP ships traces and metrics to a collector, as the environment says unless the options do.
func WithOTLP(opts ...otlp.Option) Option {
	return func(c *config) { c.useOTLP, c.otlp = true, append(c.otlp, opts...) }
}

// WithPrometheus changes what is served to Prometheus: by prometheus.WithNativeHistograms, WithGoCollector ...
func WithPrometheus(opts ...prometheus.Option) Option {
	return func(c *config) { c.prometheus = append(c.prometheus, opts...) }
}

// WithRegistry is prometheus.WithRegistry for a registry of the user's own.
func WithRegistry(r *promclient.Registry) Option {
	return WithPrometheus(prometheus.WithRegistry(r, r))
}

// WithInstrument passes options on to [instrument.NewHandler], after the agent's own.
func WithInstrument(opts ...instrument.Option) Option {
	return func(c *config) { c.instrument = append(c.instrument, opts...) }
}

func listenAddress(name, value string) (string, error) {
	host, port, err := net.SplitHostPort(value)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return "", env.Bad(name, value, "host:port, such as 127.0.0.1:9464 or :9464, with a port up to 65535")
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

func journalSize(name, value string) (int, error) {
	number, unit := strings.TrimRight(value, "KiMB"), 1
	switch strings.TrimPrefix(value, number) {
	case "", "B":
	case "KiB":
		unit = 1 << 10
	case "MiB":
		unit = 1 << 20
	default:
		number = ""
	}
	n, err := strconv.Atoi(number)
	if err != nil || n > journal.MaxSize/unit || n*unit < journal.MinSize {
		return 0, env.Bad(name, value, fmt.Sprintf("a number of bytes, or KiB or MiB as in 4MiB, from %dKiB to %dMiB", journal.MinSize>>10, journal.MaxSize>>20))
	}
	return n * unit, nil
}

func spanRate(name, value string) (float64, error) {
	rate, err := strconv.ParseFloat(value, 64)
	if err != nil || !(rate >= 0) || math.IsInf(rate, 0) {
		return 0, env.Bad(name, value, "a number of spans a second, or 0 for no limit")
	}
	return rate, nil
}

func maxTargets(name, value string) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 {
		return 0, env.Bad(name, value, "a number of targets, or 0 for no limit")
	}
	return n, nil
}

// targets returns a filter that keeps what one of the patterns matches.
func targets(name string, patterns []string) (func(string) bool, error) {
	for _, p := range patterns {
		if _, err := path.Match(escapeSlash(p), ""); err != nil {
			return nil, env.Bad(name, p, "patterns separated by commas, such as dns:///*.example:443, of the kind of path.Match")
		}
	}
	return func(target string) bool {
		for _, p := range patterns {
			if ok, err := path.Match(escapeSlash(p), escapeSlash(target)); ok && err == nil {
				return true
			}
		}
		return false
	}, nil
}

// escapeSlash lets a star match slashes too: a target is no path.
func escapeSlash(s string) string { return strings.ReplaceAll(s, "/", "\x01") }

// fields splits a list at commas.
func fields(list string) (all []string) {
	for _, f := range strings.Split(list, ",") {
		if f = strings.TrimSpace(f); f != "" {
			all = append(all, f)
		}
	}
	return all
}
