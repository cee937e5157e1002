package prometheus_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/redial-dev/redial/exporters/prometheus"
	"github.com/redial-dev/redial/instrument"
)

// Metrics for Prometheus, without the agent.
func Example() {
	exporter, err := prometheus.New()
	if err != nil {
		log.Fatal(err)
	}
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter.Reader()))
	instrument.DialOption(instrument.WithMeterProvider(provider))
	http.Handle("/metrics", exporter.Handler())

	answer := httptest.NewRecorder()
	http.DefaultServeMux.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	fmt.Println(strings.Contains(answer.Body.String(), "redial_build_info"))
	// Output: true
}
