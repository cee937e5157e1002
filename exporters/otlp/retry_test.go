package otlp_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/redial-dev/redial/exporters/otlp"
	"github.com/redial-dev/redial/internal/retry"
)

// A collector over HTTP that asks for a later try gets one: the official exporters say so only in a text, which may
// change with their version.
func TestRetryLater(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer srv.Close()
	spans, err := otlp.NewSpanExporter(t.Context(), otlp.WithEndpointURL(srv.URL))
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := otlp.NewMetricExporter(t.Context(), otlp.WithEndpointURL(srv.URL))
	if err != nil {
		t.Fatal(err)
	}
	for name, export := range map[string]func(context.Context) error{
		"spans": func(ctx context.Context) error {
			return spans.ExportSpans(ctx, []sdktrace.ReadOnlySpan{tracetest.SpanStub{Name: "one"}.Snapshot()})
		},
		"metrics": func(ctx context.Context) error {
			return metrics.Export(ctx, &metricdata.ResourceMetrics{Resource: resource.Empty()})
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		tries := 0
		err := export(retry.WithNote(ctx, func(error) {
			tries++
			cancel() // It would be tried again.
		}))
		if err == nil || tries != 1 {
			t.Errorf("%s: %d tries were noted (%v), want 1", name, tries, err)
		}
		cancel()
	}
}

// An endpoint that is not allowed is an error, which leaves out what may be a password.
func TestBadEndpoint(t *testing.T) {
	for _, endpoint := range []string{"collector:4317", "ftp://user:secret@collector", "http://"} {
		_, err := otlp.NewMetricExporter(t.Context(), otlp.WithEndpointURL(endpoint))
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", endpoint, err)
		}
	}
}
