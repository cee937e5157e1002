package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/redial-dev/redial/agent/internal/delivery"
	"github.com/redial-dev/redial/internal/report"
	"github.com/redial-dev/redial/internal/retry"
)

// exporter exports spans by a function.
type exporter func(context.Context, []sdktrace.ReadOnlySpan) error

func (f exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	return f(ctx, spans)
}
func (exporter) Shutdown(context.Context) error { return nil }

func span(attributes ...attribute.KeyValue) sdktrace.ReadOnlySpan {
	return tracetest.SpanStub{
		Name: "grpc.connect", Attributes: attributes, SpanContext: trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled,
		}),
	}.Snapshot()
}

// A collector that is not what it should be is reported within 15 seconds, with why, although an export is tried for
// minutes.
func TestWrongCollector(t *testing.T) {
	for name, c := range map[string]struct {
		export exporter
		want   string
	}{
		"silent": {func(ctx context.Context, _ []sdktrace.ReadOnlySpan) error {
			<-ctx.Done()
			return ctx.Err()
		}, "the collector has not answered"},
		"tried again": {func(ctx context.Context, _ []sdktrace.ReadOnlySpan) error {
			return retry.Do(ctx, func() error {
				return errors.New("max retry time elapsed: retry-able request failure: body: no backend")
			})
		}, "no backend"},
		"refusing": {func(context.Context, []sdktrace.ReadOnlySpan) error {
			return errors.New("404 Not Found: \x1b[31m\xff")
		}, "1 span was lost, which redial.events.dropped counts: 404 Not Found: \uFFFD[31m\uFFFD"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var reports []error
				begin := time.Now()
				r := delivery.NewReporter(func(int64) {}, report.New(func(err error) {
					reports = append(reports, err)
					if took := time.Since(begin); took > 15*time.Second {
						t.Errorf("reported after %v: %v", took, err)
					}
				}))
				p := delivery.Spans(c.export, 10, 5*time.Minute, r)
				p.OnEnd(span())
				time.Sleep(15 * time.Second)
				synctest.Wait()
				if len(reports) != 1 || !strings.Contains(reports[0].Error(), c.want) {
					t.Errorf("reported: %v, want %q", reports, c.want)
				}
				begin = time.Now() // What is lost at the end is reported again, after a minute.
				r.GiveUp()
				if err := p.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A batch that is too large for a collector is sent in parts, and a part that fails takes no other along.
func TestLargeBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lost, sent, parts int
		r := delivery.NewReporter(func(n int64) { lost += int(n) }, report.New(func(error) {}))
		p := delivery.Spans(exporter(func(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
			parts++
			size := 0
			for _, s := range spans {
				for _, kv := range s.Attributes() {
					size += len(kv.Value.AsString())
				}
			}
			if size > 4<<20 {
				return fmt.Errorf("received message larger than max (%d vs. 4194304)", size)
			}
			sent += len(spans)
			return nil
		}), 1000, time.Minute, r)
		huge := span(attribute.String("error.message", strings.Repeat("x", 5<<20)))
		text := attribute.String("error.message", strings.Repeat("x", 100<<10))
		for i := range 200 {
			if i == 100 {
				p.OnEnd(huge)
			}
			p.OnEnd(span(text))
		}
		if err := p.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if sent != 200 || lost != 1 || parts < 11 {
			t.Errorf("%d spans were sent in %d parts and %d lost, want 200 and 1", sent, parts, lost)
		}
	})
}

type metricExporter struct{ sdkmetric.Exporter }

func (metricExporter) Export(context.Context, *metricdata.ResourceMetrics) error {
	return errors.New("connection refused")
}

// A failed export of metrics is reported as such, once a minute, and not to the SDK.
func TestMetrics(t *testing.T) {
	var reports []string
	r := delivery.NewReporter(func(int64) { t.Error("spans were counted") }, report.New(func(err error) {
		reports = append(reports, err.Error())
	}))
	e := delivery.Metrics(metricExporter{}, r)
	for range 10 {
		if err := e.Export(t.Context(), nil); err != nil {
			t.Error(err)
		}
	}
	const want = "redial: an export of metrics failed; the next one has the same sums: connection refused"
	if len(reports) != 1 || reports[0] != want {
		t.Errorf("reported: %q, want %q", reports, want)
	}
	if failed := r.Failed(); failed.Metrics != 10 {
		t.Errorf("%+v, want 10 failed exports of metrics", failed)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Export(ctx, nil); err != nil || r.Failed().Metrics != 10 {
		t.Errorf("an export that the SDK cuts off has failed (%v)", err)
	}
}

// A span that ends after Shutdown is counted as lost.
func TestSpanAfterShutdown(t *testing.T) {
	var lost, sent int
	r := delivery.NewReporter(func(n int64) { lost += int(n) }, report.New(func(error) {}))
	p := delivery.Spans(exporter(func(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
		sent += len(spans)
		return nil
	}), 10, time.Minute, r)
	p.OnEnd(span())
	if err := p.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	p.OnEnd(span())
	if sent != 1 || lost != 1 {
		t.Errorf("%d spans were sent and %d lost, want 1 and 1", sent, lost)
	}
}
