package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/trace"

	"github.com/redial-dev/redial/agent/internal/journal"
	"github.com/redial-dev/redial/exporters/otlp"
	"github.com/redial-dev/redial/exporters/prometheus"
	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/internal/env"
)

// config is what the options and the environment ask for.
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

	signals  signals
	replaced map[string]bool // The variables in whose place there is an option.
	errs     []error
}

// redial's own environment variables. docs/agent.md lists them.
const (
	redialListen       = "REDIAL_LISTEN"
	redialAllowedHosts = "REDIAL_ALLOWED_HOSTS"
	redialJournalSize  = "REDIAL_JOURNAL_SIZE"
	redialSpanRate     = "REDIAL_SPAN_RATE"
	redialMaxTargets   = "REDIAL_MAX_TARGETS"
	redialTargets      = "REDIAL_TARGETS"
)

// setting is one of redial's own variables. Its error names the variable, or the option in its place.
type setting struct {
	variable string
	set      func(c *config, name, value string) error
}

var settings = []setting{
	{redialListen, func(c *config, name, value string) (err error) {
		c.listen, err = listenAddress(name, value)
		return err
	}},
	{redialAllowedHosts, func(c *config, _, value string) error {
		c.hosts = fields(value)
		return nil
	}},
	{redialJournalSize, func(c *config, name, value string) (err error) {
		c.journalSize, err = journalSize(name, value)
		return err
	}},
	{redialSpanRate, func(c *config, name, value string) (err error) {
		c.spanRate, err = spanRate(name, value)
		return err
	}},
	{redialMaxTargets, func(c *config, name, value string) (err error) {
		c.maxTargets, err = maxTargets(name, value)
		return err
	}},
	{redialTargets, func(c *config, name, value string) (err error) {
		c.keepTarget, err = targets(name, value)
		return err
	}},
}

// newConfig applies the options, and reads the variables in whose place there is none. It returns all errors of both.
func newConfig(opts []Option) (*config, error) {
	c := &config{
		journalSize: journal.DefaultSize, spanRate: instrument.DefaultSpanRate,
		maxTargets: instrument.DefaultMaxTargets, replaced: map[string]bool{},
	}
	for _, o := range opts {
		if o != nil {
			o(c)
		}
	}
	for _, s := range settings {
		if value, ok := env.Lookup(s.variable); ok && !c.replaced[s.variable] {
			c.note(s.set(c, s.variable, value))
		}
	}
	c.readOTel()
	return c, errors.Join(c.errs...)
}

// allowedHosts are the names of the setting, and the one on which the agent listens.
func (c *config) allowedHosts() allowedHosts {
	host, _, err := net.SplitHostPort(c.listen)
	if err != nil || host == "" {
		return c.hosts
	}
	return append(slices.Clone(c.hosts), host)
}

// apply sets what an option says in place of a variable.
func (c *config) apply(variable, option, value string) {
	for _, s := range settings {
		if s.variable == variable {
			c.replaced[variable] = true
			c.note(s.set(c, option, value))
		}
	}
}

func (c *config) note(err error) {
	if err != nil {
		c.errs = append(c.errs, err)
	}
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
	number, unit := strings.TrimRight(value, "KiMB"), uint64(1)
	switch strings.TrimPrefix(value, number) {
	case "", "B":
	case "KiB":
		unit = 1 << 10
	case "MiB":
		unit = 1 << 20
	default:
		number = ""
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || n > journal.MaxSize/unit || n*unit < journal.MinSize {
		return 0, env.Bad(name, value, fmt.Sprintf("a number of bytes, or KiB or MiB as in 4MiB, from %dKiB to %dMiB",
			journal.MinSize>>10, journal.MaxSize>>20))
	}
	return int(n * unit), nil
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
func targets(name, value string) (func(string) bool, error) {
	const want = "patterns separated by commas, such as dns:///*.example:443, of the kind of path.Match"
	patterns := fields(value)
	if len(patterns) == 0 {
		return nil, env.Bad(name, value, want)
	}
	for _, p := range patterns {
		if _, err := path.Match(escapeSlash(p), ""); err != nil {
			return nil, env.Bad(name, p, want)
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
