// Command fill writes the blocks of a Prometheus of a fleet: what one client's scrape shows of one target, for many
// instances and targets over hours, with one bad instance and one bad target among them.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"math"
	"os"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

var (
	scrape    = flag.String("scrape", "", "file with the scrape of a client that lost a connection and redialled")
	out       = flag.String("out", "", "folder for the blocks")
	instances = flag.Int("instances", 200, "how many instances there are")
	targets   = flag.Int("targets", 10, "how many targets each calls")
	span      = flag.Duration("span", 3*time.Hour, "how long")
	every     = flag.Duration("every", time.Minute, "the time between two scrapes")
	end       = flag.Int64("end", time.Now().Unix(), "when the last scrape is, in Unix seconds")
)

// The bad ones.
const badInstance, badTarget = 7, 3

func main() {
	log.SetFlags(0)
	flag.Parse()
	series, samples, err := fill()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d series, %d samples\n", series, samples)
}

func fill() (series, samples int, err error) {
	templates, err := read(*scrape)
	if err != nil {
		return 0, 0, err
	}
	w, err := tsdb.NewBlockWriter(slog.New(slog.DiscardHandler), *out, (24 * time.Hour).Milliseconds())
	if err != nil {
		return 0, 0, fmt.Errorf("write blocks: %w", err)
	}
	var all []fleetSeries
	for instance := range *instances {
		for target := range *targets {
			for _, s := range templates {
				if s.labels.Has("grpc_target") || target == 0 { // What is about redial itself is there once.
					all = append(all, s.of(instance, target))
				}
			}
		}
	}
	first := time.Unix(*end, 0).Add(-*span)
	for at := first; !at.After(time.Unix(*end, 0)); at = at.Add(*every) {
		app := w.Appender(context.Background())
		for i := range all {
			s := &all[i]
			if s.ref, err = app.Append(s.ref, s.labels, at.UnixMilli(), s.value(at.Sub(first))); err != nil {
				return 0, 0, fmt.Errorf("append %v: %w", s.labels, err)
			}
			samples++
		}
		if err := app.Commit(); err != nil {
			return 0, 0, fmt.Errorf("commit: %w", err)
		}
	}
	_, err = w.Flush(context.Background())
	return len(all), samples, err
}

// template is a series of the scrape.
type template struct {
	labels  labels.Labels
	counter bool
	value   float64
}

// fleetSeries is a series of an instance and target.
type fleetSeries struct {
	template
	ref    storage.SeriesRef
	bad    bool
	offset time.Duration // When its first event is.
}

func (s template) of(instance, target int) fleetSeries {
	b := labels.NewBuilder(s.labels).Set("job", "fleet").Set("instance", fmt.Sprintf("pod-%03d:9464", instance))
	if s.labels.Has("grpc_target") {
		b.Set("grpc_target", fmt.Sprintf("dns:///service-%02d:443", target))
	}
	s.labels = b.Labels()
	n := instance**targets + target
	return fleetSeries{template: s, bad: instance == badInstance || target == badTarget,
		offset: time.Duration(n*37%3600) * time.Second}
}

// value is what the series shows: what the scrape showed happens once an hour, and every other minute where it is
// bad.
func (s *fleetSeries) value(since time.Duration) float64 {
	name := s.labels.Get(model.MetricNameLabel)
	switch {
	case s.counter && s.bad:
		return s.template.value * float64(int(since/(2*time.Minute)))
	case s.counter:
		return s.template.value * float64(int((since+s.offset)/time.Hour))
	case name == "redial_endpoint_disconnected" && s.bad && s.labels.Has("error_type"):
		return 1
	case name == "redial_connect_age_seconds" && s.bad:
		return (since % (2 * time.Minute)).Seconds()
	}
	return s.template.value
}

// read reads the series of redial of a scrape in text.
func read(file string) ([]template, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(f)
	if err != nil {
		return nil, fmt.Errorf("read the scrape %s: %w", file, err)
	}
	var all []template
	for name, family := range families {
		if !strings.HasPrefix(name, "redial_") {
			continue
		}
		for _, m := range family.Metric {
			all = append(all, templates(name, m)...)
		}
	}
	return all, nil
}

func templates(name string, m *dto.Metric) (all []template) {
	add := func(suffix string, counter bool, value float64, more ...string) {
		b := labels.NewBuilder(labels.FromStrings(append([]string{model.MetricNameLabel, name + suffix}, more...)...))
		for _, l := range m.Label {
			b.Set(l.GetName(), l.GetValue())
		}
		all = append(all, template{b.Labels(), counter, value})
	}
	switch {
	case m.Counter != nil:
		add("", true, m.Counter.GetValue())
	case m.Gauge != nil:
		add("", false, m.Gauge.GetValue())
	case m.Histogram != nil:
		add("_sum", true, m.Histogram.GetSampleSum())
		add("_count", true, float64(m.Histogram.GetSampleCount()))
		for _, bucket := range m.Histogram.Bucket {
			if math.IsInf(bucket.GetUpperBound(), 1) {
				continue // It is the count.
			}
			add("_bucket", true, float64(bucket.GetCumulativeCount()), "le", fmt.Sprint(bucket.GetUpperBound()))
		}
		add("_bucket", true, float64(m.Histogram.GetSampleCount()), "le", "+Inf")
	}
	return all
}
