package scale

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	"github.com/redial-dev/redial/agent"
	"github.com/redial-dev/redial/e2e/internal/loopback"
)

const patience = time.Minute

// scrape is what one answer of /metrics weighs.
type scrape struct {
	series     float64 // As Prometheus stores it: a classic histogram is a series for each bucket, and two more.
	bytes      float64
	compressed float64 // By gzip, which Prometheus asks for.
}

func (s scrape) minus(o scrape) scrape {
	return scrape{s.series - o.series, s.bytes - o.bytes, s.compressed - o.compressed}
}

func (s scrape) by(n float64) scrape { return scrape{s.series * n, s.bytes * n, s.compressed * n} }

// spans is what went to the collector.
type spans struct{ number, bytes, compressed float64 }

func (s spans) minus(o spans) spans {
	return spans{s.number - o.number, s.bytes - o.bytes, s.compressed - o.compressed}
}

func (s spans) by(n float64) spans { return spans{s.number * n, s.bytes * n, s.compressed * n} }

// load is what one process made.
type load struct {
	text, protobuf scrape
	spans          spans
	events, bytes  float64 // Of the journal.
}

func compressed(t *testing.T, text []byte) float64 {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return float64(b.Len())
}

// sink is a collector that counts.
type sink struct {
	mu sync.Mutex
	spans
}

func (s *sink) serve(t *testing.T) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request collector.ExportTraceServiceRequest
		if err := errors.Join(err, proto.Unmarshal(body, &request)); err != nil {
			t.Error(err)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, r := range request.ResourceSpans {
			for _, scope := range r.ScopeSpans {
				s.number += float64(len(scope.Spans))
			}
		}
		s.bytes += float64(len(body))
		s.compressed += compressed(t, body)
	}))
}

func get(t *testing.T, url, accept string) (*http.Response, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", accept)
	// Without this the client asks for gzip, and undoes it unseen.
	request.Header.Set("Accept-Encoding", "identity")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s (%v)", url, answer.Status, err)
	}
	return answer, body
}

const (
	text     = "application/openmetrics-text;version=1.0.0;charset=utf-8"
	protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)

// weighScrape scrapes as Prometheus does.
func weighScrape(t *testing.T, url, accept string) (weight scrape) {
	t.Helper()
	answer, body := get(t, url, accept)
	weight.bytes, weight.compressed = float64(len(body)), compressed(t, body)
	if accept == text {
		for line := range bytes.Lines(body) {
			if line[0] != '#' {
				weight.series++
			}
		}
		return weight
	}
	decoder := expfmt.NewDecoder(bytes.NewReader(body), expfmt.ResponseFormat(answer.Header))
	for {
		var family dto.MetricFamily
		if err := decoder.Decode(&family); errors.Is(err, io.EOF) {
			return weight
		} else if err != nil {
			t.Fatal(err)
		}
		for _, m := range family.Metric {
			weight.series++
			if h := m.Histogram; h != nil && h.Schema == nil { // Classic: the buckets with +Inf, the sum and the count.
				weight.series += float64(len(h.Bucket)) + 2
			}
		}
	}
}

// client is a channel and the server that it calls.
type client struct {
	*grpc.ClientConn
	backend *loopback.Server
	t       *testing.T
	ctx     context.Context
}

func (c client) call() {
	_, err := healthpb.NewHealthClient(c).Check(c.ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
	if err != nil {
		c.t.Error(err)
	}
}

func (c client) await(state connectivity.State) {
	c.t.Helper()
	for have := c.GetState(); have != state; have = c.GetState() {
		if !c.WaitForStateChange(c.ctx, have) {
			c.t.Fatalf("the channel stays %v", have)
		}
	}
}

// run lets one process have clients of as many targets, each of which connects and does an RPC. With an outage each
// server is then stopped, an attempt fails, an RPC waits, and the server comes back.
func run(t *testing.T, targets int, outage bool, opts ...agent.Option) (made load) {
	t.Helper()
	var s sink
	server := s.serve(t)
	defer server.Close()
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": server.URL + "/v1/traces",
		"OTEL_TRACES_EXPORTER":               "otlp",
		"OTEL_METRICS_EXPORTER":              "none",
		"OTEL_BSP_MAX_QUEUE_SIZE":            "100000",
		"OTEL_SERVICE_NAME":                  "orders",
		"OTEL_RESOURCE_ATTRIBUTES":           "k8s.namespace.name=shop,k8s.pod.name=orders-5d9c7b6f4-x2x7q",
		"REDIAL_LISTEN":                      "127.0.0.1:0",
	} {
		t.Setenv(name, value)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a, err := agent.Start(ctx, opts...)
	if err != nil {
		t.Fatal(err)
	}
	clients := make([]client, targets)
	for i := range clients {
		c := client{t: t, ctx: ctx, backend: loopback.Serve(t, "127.0.0.1:0")}
		dial := grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", c.backend.Address)
		})
		// A name as long as those in a cluster.
		c.ClientConn, err = a.NewClient(fmt.Sprintf("passthrough:///backend-%02d.shop.svc.cluster.local:50051", i), dial,
			grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		c.call()
		clients[i] = c
	}
	if outage {
		var waiting sync.WaitGroup
		for i, c := range clients {
			c.backend.Halt()
			c.await(connectivity.Idle)
			waiting.Go(c.call)
			c.await(connectivity.TransientFailure)
			clients[i].backend = loopback.Serve(t, c.backend.Address)
		}
		waiting.Wait()
	}
	base := "http://" + a.Addr().String()
	made.text = weighScrape(t, base+"/metrics", text)
	made.protobuf = weighScrape(t, base+"/metrics", protobuf)
	for _, c := range clients {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		c.backend.Halt()
	}
	_, journal := get(t, base+"/debug/redial/api/v1/dump", "*/*")
	made.events, made.bytes = float64(bytes.Count(journal, []byte("\n"))), float64(len(journal))
	if err := a.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	made.spans = s.spans
	return made
}
