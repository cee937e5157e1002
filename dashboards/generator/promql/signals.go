package promql

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/otlptranslator"
)

// Signals are the metrics of redial by the names that Prometheus knows, and what labels each has.
type Signals struct {
	labels map[string][]string // By the name of a metric.
	values map[string]bool     // Of attributes, all together.
}

// everywhere are the labels of each metric, from the resource or the scrape.
var everywhere = []string{"job", "instance"}

// foreign are metrics that Prometheus itself or the exporter makes.
var foreign = map[string][]string{
	"up":                      nil,
	"scrape_samples_scraped":  nil,
	"scrape_duration_seconds": nil,
	"redial_build_info":       {"version"},
}

var (
	metricRow = regexp.MustCompile("^\\| " +
		"(`[a-z0-9_.]+`(?:, `[a-z0-9_.]+`)*) \\| (histogram|counters?|up-down counter|gauge), `?([^`|,: ]+)`?[^|]*\\| ([^|]*)\\|")
	metricName = regexp.MustCompile("`((?:redial|grpc)\\.[a-z0-9_.]+)`")
	attribute  = regexp.MustCompile("`((?:redial|grpc|error|http2)\\.[a-z0-9_.]+)`")
	value      = regexp.MustCompile("`([a-z0-9_]+|_OTHER)`")
)

// ReadSignals reads docs/signals.md, which a test holds against the code.
func ReadSignals(page string) (*Signals, error) {
	f, err := os.Open(page)
	if err != nil {
		return nil, fmt.Errorf("read the list of signals: %w", err)
	}
	defer f.Close()
	s := &Signals{labels: map[string][]string{}, values: map[string]bool{}}
	for name, labels := range foreign {
		s.labels[name] = slices.Concat(everywhere, labels)
	}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		for _, v := range value.FindAllStringSubmatch(lines.Text(), -1) {
			s.values[v[1]] = true
		}
		if row := metricRow.FindStringSubmatch(lines.Text()); row != nil {
			if err := s.add(row[1], row[2], row[3], row[4]); err != nil {
				return nil, err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the list of signals: %w", err)
	}
	return s, nil
}

var kinds = map[string]otlptranslator.MetricType{
	"histogram":       otlptranslator.MetricTypeHistogram,
	"counter":         otlptranslator.MetricTypeMonotonicCounter,
	"counters":        otlptranslator.MetricTypeMonotonicCounter,
	"up-down counter": otlptranslator.MetricTypeNonMonotonicCounter,
	"gauge":           otlptranslator.MetricTypeGauge,
}

// add adds the metrics of a row, as OpenTelemetry's exporter and Prometheus' OTLP receiver name them.
func (s *Signals) add(names, kind, unit, attributes string) error {
	labels := slices.Clone(everywhere)
	if !strings.Contains(attributes, "no target") {
		labels = append(labels, "grpc_target")
	}
	for _, a := range attribute.FindAllStringSubmatch(attributes, -1) {
		labels = append(labels, strings.ReplaceAll(a[1], ".", "_"))
	}
	namer := otlptranslator.MetricNamer{WithMetricSuffixes: true}
	for _, n := range metricName.FindAllStringSubmatch(names, -1) {
		name, err := namer.Build(otlptranslator.Metric{Name: n[1], Unit: unit, Type: kinds[kind]})
		if err != nil {
			return fmt.Errorf("the Prometheus name of %s: %w", n[1], err)
		}
		s.labels[name] = labels
		if kind == "histogram" {
			s.labels[name+"_count"], s.labels[name+"_sum"] = labels, labels
			s.labels[name+"_bucket"] = append(slices.Clone(labels), "le")
		}
	}
	return nil
}

// Record adds a series that a recording rule makes.
func (s *Signals) Record(name string, labels ...string) { s.labels[name] = labels }

// has reports whether a metric has a label.
func (s *Signals) has(metric, label string) bool { return slices.Contains(s.labels[metric], label) }
